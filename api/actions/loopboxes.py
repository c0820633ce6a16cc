"""Makes, tags and deletes loopboxes; no node mounts them yet."""

from django.db import transaction

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.actions.containers import running_container
from insula.api.actions.tags import put_tags
from insula.api.errors import ApiError, Code
from insula.api.models import Container, Loopbox
from insula.vassals import names

MAXIMUM_LOOPBOXES = 64
MAXIMUM_FILENAME = 64
MAXIMUM_MOUNTPOINT = 255


def create_loopbox(
    actor: Actor, uid: int, *, filename: str, mountpoint: str, is_read_only: bool
) -> Loopbox:
    """Make a loopbox. Raises ApiError or InvalidValue."""
    names.home_path(filename, path="filename", length=MAXIMUM_FILENAME)
    names.home_path(mountpoint, path="mountpoint", length=MAXIMUM_MOUNTPOINT)
    with transaction.atomic():
        row = running_container(actor, uid)
        Container.objects.select_for_update().get(pk=row.pk)
        for key, value in (("filename", filename), ("mountpoint", mountpoint)):
            if row.loopboxes.filter(**{key: value}).exists():
                raise ApiError(Code.CONFLICT, f"container {uid} has that {key} already", field=key)
        if row.loopboxes.count() >= MAXIMUM_LOOPBOXES:
            raise ApiError(Code.CONFLICT, f"container {uid} has {MAXIMUM_LOOPBOXES} loopboxes")
        made = Loopbox.objects.create(
            container=row, filename=filename, mountpoint=mountpoint, ro=is_read_only
        )
        audit(actor, "create-loopbox", str(uid), filename)
    return made


def tag_loopbox(actor: Actor, number: int, tags: tuple[str, ...]) -> Loopbox:
    """Replace the tags of a loopbox. Raises ApiError."""
    with transaction.atomic():
        row = find_loopbox(actor, number)
        put_tags(row, row.container.customer_id, tags)
        audit(actor, "tag-loopbox", str(row.container.uid), row.filename)
    return row


def delete_loopbox(actor: Actor, number: int) -> None:
    """Forget a loopbox; its file stays. Raises ApiError."""
    with transaction.atomic():
        row = find_loopbox(actor, number)
        row.delete()
        audit(actor, "delete-loopbox", str(row.container.uid), row.filename)


def find_loopbox(actor: Actor, number: int) -> Loopbox:
    """The loopbox of a running container, if the actor may see it. Raises ApiError: forbidden."""
    rows = Loopbox.objects.select_related("container").filter(container__state="running")
    row = rows.filter(pk=number).first()
    if row is None or not actor.may_see(row.container.customer_id):
        raise ApiError(Code.FORBIDDEN, f"loopbox {number} is none of yours")
    return row
