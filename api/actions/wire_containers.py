"""Containers as the ancestor's wire format changes them: one request is one transaction."""

import re
import uuid
from dataclasses import dataclass, field, fields

from django.conf import settings
from django.db import transaction

from insula.api.actions import texts
from insula.api.actions.actor import Actor
from insula.api.actions.change import audit, change
from insula.api.actions.containers import (
    Effect,
    Wanted,
    add_container,
    running_container,
    set_values,
    touch,
)
from insula.api.actions.custom_distros import usable_by
from insula.api.actions.customers import RESERVED
from insula.api.actions.encryption import encrypt
from insula.api.actions.links import link, unlink
from insula.api.actions.nodes import owned_node
from insula.api.actions.tags import put_tags
from insula.api.errors import ApiError, Code
from insula.api.models import Container, CustomDistro, Customer, Notification
from insula.vassals import spec
from insula.vassals.errors import InvalidValue

MINIMUM_ALARM_SECONDS = 60
_MAXIMUM_NUMBER = (1 << 31) - 1
_LABEL_LENGTH = 32
# Fields of a row or of a request, as the wire format calls them.
_WIRE_NAMES = {
    "title": "name",
    "hostname": "name",
    "memory_mib": "memory",
    "memory_bytes": "memory",
    "storage_mib": "storage",
    "storage_bytes": "storage",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Whom alarms are to reach; None: as it is."""

    jid: str | None = None
    jid_secret: str | None = None
    jid_destinations: str | None = None
    pushover_user: str | None = None
    pushover_token: str | None = None
    pushover_sound: str | None = None
    pushbullet_token: str | None = None
    slack_webhook: str | None = None
    alarm_freq: int | None = None
    quota_threshold: int | None = None

    def checked(self) -> dict[str, str | int]:
        """The fields that are named. Raises InvalidValue."""
        found: dict[str, str | int] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, str):
                found[item.name] = texts.line(value, path=item.name)
            elif value is not None:
                if not 0 <= value <= _MAXIMUM_NUMBER:
                    raise InvalidValue(f"{item.name}: should be from 0 to {_MAXIMUM_NUMBER}")
                found[item.name] = value
        if "alarm_freq" in found:
            found["alarm_freq"] = max(MINIMUM_ALARM_SECONDS, int(found["alarm_freq"]))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """All that one request may ask of a container; None: as it is.

    ``memory_mib`` and ``storage_mib`` count for the owner of the node alone. Sending back what is
    shown changes nothing, also where the stored bytes are no whole MiB.
    """

    title: str | None = None
    note: str | None = None
    nofollow: bool | None = None
    memory_mib: int | None = None
    storage_mib: int | None = None
    limits: Wanted = field(default_factory=Wanted)
    channels: Channels = field(default_factory=Channels)
    tags: tuple[str, ...] | None = None
    custom_distros_storage: bool | None = None
    # 0 takes it away: no row has that number.
    custom_distro: int | None = None
    link: int | None = None
    unlink: int | None = None
    is_reboot: bool = False

    def check(self) -> None:
        """Raises InvalidValue, naming the field."""
        if self.title is not None:
            texts.line(self.title, path="name", is_blank_allowed=False)
        if self.note is not None:
            texts.note(self.note, path="note")


class _NothingToDo(Exception):
    """Takes the transaction back, and the revision with it."""


def change_container(actor: Actor, uid: int, wanted: Request) -> dict[str, Effect]:
    """Do all that is asked or nothing; says what each named field takes.

    Raises ApiError or InvalidValue.
    """
    wanted.check()
    limits, channels = wanted.limits.checked(), wanted.channels.checked()
    effects: dict[str, Effect] = {}
    try:
        with change() as revision:
            row = running_container(actor, uid)
            effects |= set_values(row, limits | _sizes(row, wanted) | _hostname(row, wanted))
            effects = {_WIRE_NAMES.get(name, name): effect for name, effect in effects.items()}
            is_noted = _describe(row, wanted) | _set_channels(row, channels) | _link(row, wanted)
            if wanted.is_reboot:
                effects["reboot"] = "restart"
            is_applied = not set(effects.values()) <= {"nothing"}
            if not is_applied and not is_noted:
                raise _NothingToDo
            if "restart" in effects.values():
                row.generation += 1
            if is_applied:
                touch(row, revision)
            audit(actor, "change-container", str(uid), ", ".join(_named(wanted)))
    except _NothingToDo:
        pass
    unchanged: dict[str, Effect] = dict.fromkeys(_named(wanted), "nothing")
    return unchanged | effects


def _named(wanted: Request) -> list[str]:
    """The names of the fields that a request holds, as the wire format has them."""
    named: list[str] = []
    for part in (wanted.limits, wanted.channels):
        named += [item.name for item in fields(part) if getattr(part, item.name) is not None]
    for item in fields(wanted):
        value = getattr(wanted, item.name)
        if item.name not in ("limits", "channels", "is_reboot") and value is not None:
            named.append(_WIRE_NAMES.get(item.name, item.name))
    return sorted(named + ["reboot"] * wanted.is_reboot)


def _sizes(row: Container, wanted: Request) -> dict[str, object]:
    if not row.customer.nodes.exists():
        return {}
    found: dict[str, object] = {}
    for name, shown in (("memory", row.memory_bytes), ("storage", row.storage_bytes)):
        value = getattr(wanted, f"{name}_mib")
        if value is not None and value != shown // spec.MEBIBYTE:
            found |= _bytes(name, value)
    return found


def _bytes(name: str, mib: int) -> dict[str, object]:
    """One size in bytes, checked. Raises ApiError: zero and less are never enough."""
    if mib <= 0:
        raise ApiError(Code.CONFLICT, f"not enough {name}")
    size = min(mib, spec.MAXIMUM_BYTES) * spec.MEBIBYTE
    return (Wanted(memory_bytes=size) if name == "memory" else Wanted(storage_bytes=size)).checked()


def _hostname(row: Container, wanted: Request) -> dict[str, object]:
    return {} if wanted.title is None else {"hostname": label_of(wanted.title)}


def _describe(row: Container, wanted: Request) -> bool:
    """Store what no node needs to know; True when something changed."""
    changed = []
    for name in ("title", "note", "nofollow", "custom_distros_storage"):
        value = getattr(wanted, name)
        if value is not None and value != getattr(row, name):
            setattr(row, name, value)
            changed.append(name)
    if wanted.custom_distro is not None and wanted.custom_distro != (row.custom_distro_id or 0):
        row.custom_distro = _usable_distro(row, wanted.custom_distro)
        changed.append("custom_distro")
    if changed:
        row.save(update_fields=changed)
    if wanted.tags is None or set(wanted.tags) == {tag.name for tag in row.tags.all()}:
        return bool(changed)
    put_tags(row, row.customer_id, wanted.tags)
    return True


def _usable_distro(row: Container, number: int) -> CustomDistro | None:
    if number == 0:
        return None
    found = usable_by(row).filter(pk=number).first()
    if found is None:
        raise InvalidValue(
            f"custom_distro: {number} cannot be used by container {row.uid}",
            f"GET custom_distros/{row.uid} lists those that can",
        )
    return found


def _link(row: Container, wanted: Request) -> bool:
    """Link and unlink, all or nothing with the rest; True when something changed."""
    if wanted.link is not None:
        link(row, wanted.link)
    if wanted.unlink is not None:
        unlink(row, wanted.unlink)
    return wanted.link is not None or wanted.unlink is not None


def _set_channels(row: Container, values: dict[str, str | int]) -> bool:
    if not values:
        return False
    found = getattr(row, "notification", None) or Notification(container=row)
    changed = False
    for name, value in values.items():
        if name == "jid_secret":
            keys = settings.KEY_ENCRYPTION_KEYS
            name, value = "jid_secret_encrypted", encrypt(str(value), about=_about(row), keys=keys)
        if getattr(found, name) != value:
            setattr(found, name, value)
            changed = True
    if changed:
        found.save()
    return changed


def _about(row: Container) -> str:
    return f"jid of {row.uid}"


def create_container(
    actor: Actor, customer: Customer, *, server: str, title: str, memory_mib: int, storage_mib: int
) -> Container:
    """Make a container on the customer's own node. Raises ApiError or InvalidValue."""
    texts.line(title, path="name", is_blank_allowed=False)
    owned_node(customer, server)
    values: dict[str, object] = {"title": title, "hostname": label_of(title)}
    values |= _bytes("memory", memory_mib) | _bytes("storage", storage_mib)
    with change() as revision:
        # Once more: the node may have got another owner since.
        owned_node(customer, server)
        name = _free_name(label_of(title))
        return add_container(actor, customer, revision, name=name, values=values)


def label_of(title: str) -> str:
    """A host name for a free text: lower case, at most 32 characters, never empty."""
    text = re.sub(r"[^a-z0-9-]", "-", title.lower())
    return text[:_LABEL_LENGTH].strip("-") or "container"


def _free_name(label: str) -> str:
    """The label, or the first of label-2, label-3 … that no running container has."""
    stem = label[: _LABEL_LENGTH - 6].rstrip("-")
    running = Container.objects.filter(state="running", name__startswith=stem)
    taken = set(running.values_list("name", flat=True)) | RESERVED
    if label not in taken:
        return label
    return next(name for n in range(2, 100_000) if (name := f"{stem}-{n}") not in taken)


def renew_secret_uuid(actor: Actor, uid: int) -> None:
    """Give the container a new secret uuid. Raises ApiError."""
    with transaction.atomic():
        row = running_container(actor, uid)
        row.secret_uuid = uuid.uuid4()
        row.save(update_fields=["secret_uuid"])
        audit(actor, "renew-secret-uuid", str(uid))
