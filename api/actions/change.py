"""One change: a transaction with its revision and its audit entry, and the waking of the feeds."""

import contextlib
import socket
from collections.abc import Iterator

from django.conf import settings
from django.db import transaction

from insula.api.actions.actor import Actor
from insula.api.models import AuditEntry, Revision


@contextlib.contextmanager
def change() -> Iterator[int]:
    """A transaction that gets the next revision; when it fails, no number is used up.

    The revision's row is read first, so all changes stand in one queue and the feed is in order.
    """
    with transaction.atomic():
        row, _ = Revision.objects.select_for_update().get_or_create(pk=1)
        row.number += 1
        row.save(update_fields=["number"])
        yield row.number
        transaction.on_commit(wake_feeds)


def audit(actor: Actor, action: str, subject: str, detail: str = "") -> None:
    AuditEntry.objects.create(who=actor.name, action=action, subject=subject, detail=detail)


def wake_feeds() -> None:
    """Tell the node door that there is news; it looks by itself too, so errors are fine."""
    path = settings.WAKE_SOCKET
    if path is None:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(b"!", path)
