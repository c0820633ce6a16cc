"""Keeps what customers say about root file systems of their own; no node uses them yet."""

from django.db import transaction
from django.db.models import QuerySet

from insula.api.actions import texts
from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.actions.containers import running_container
from insula.api.errors import ApiError, Code
from insula.api.models import Container, CustomDistro
from insula.vassals import names
from insula.vassals.errors import InvalidValue

MAXIMUM_DISTROS = 100


def usable_by(row: Container) -> QuerySet[CustomDistro]:
    """Those of the same customer that lie in another container."""
    rows = CustomDistro.objects.select_related("container").filter(
        container__customer=row.customer_id, container__state="running"
    )
    return rows.exclude(container=row)


def create_distro(actor: Actor, uid: int, *, name: str, path: str, note: str) -> CustomDistro:
    """Say that a root file system lies in a container's home. Raises ApiError: forbidden."""
    _check(name, path, note)
    with transaction.atomic():
        row = running_container(actor, uid)
        if not row.custom_distros_storage:
            raise ApiError(
                Code.FORBIDDEN, f"container {uid} stores no custom distros",
                "set its custom_distros_storage first",
            )  # fmt: skip
        Container.objects.select_for_update().get(pk=row.pk)
        made = CustomDistro(container=row, name=name, path=path, note=note)
        _must_be_free(made)
        if row.stored_distros.count() >= MAXIMUM_DISTROS:
            raise ApiError(Code.FORBIDDEN, f"container {uid} has {MAXIMUM_DISTROS} already")
        made.save()
        audit(actor, "create-custom-distro", str(uid), name)
    return made


def change_distro(
    actor: Actor, number: int, *, name: str | None, path: str | None, note: str | None
) -> CustomDistro:
    """Rename, move or note. Raises ApiError: forbidden."""
    with transaction.atomic():
        row = find_distro(actor, number)
        row.name = row.name if name is None else name
        row.path = row.path if path is None else path
        row.note = row.note if note is None else note
        _check(row.name, row.path, row.note)
        _must_be_free(row)
        row.save()
        audit(actor, "change-custom-distro", str(row.container.uid), row.name)
    return row


def delete_distro(actor: Actor, number: int) -> None:
    """Forget one that no container is to have. Raises ApiError: conflict."""
    with transaction.atomic():
        row = find_distro(actor, number)
        used = [item.uid for item in row.users.all()[:3]]
        if used:
            listed = ", ".join(str(uid) for uid in used)
            raise ApiError(
                Code.CONFLICT, f"custom distro {number} is used by {listed}",
                "give them another one first, or null",
            )  # fmt: skip
        row.delete()
        audit(actor, "delete-custom-distro", str(row.container.uid), row.name)


def find_distro(actor: Actor, number: int) -> CustomDistro:
    """The custom distro if the actor may see it. Raises ApiError: forbidden."""
    rows = CustomDistro.objects.select_related("container").filter(container__state="running")
    row = rows.filter(pk=number).first()
    if row is None or not actor.may_see(row.container.customer_id):
        raise ApiError(Code.FORBIDDEN, f"custom distro {number} is none of yours")
    return row


def _check(name: str, path: str, note: str) -> None:
    """The ancestor answers 403 for a bad value, too."""
    try:
        texts.line(name, path="name", is_blank_allowed=False)
        texts.note(note, path="note")
    except InvalidValue as error:
        raise ApiError(Code.FORBIDDEN, error.message) from error
    if not names.is_token(path):
        raise ApiError(Code.FORBIDDEN, "path: should be 1 to 64 of A-Z a-z 0-9 . _ -")


def _must_be_free(row: CustomDistro) -> None:
    others = CustomDistro.objects.filter(container=row.container).exclude(pk=row.pk)
    for key in ("name", "path"):
        if others.filter(**{key: getattr(row, key)}).exists():
            raise ApiError(Code.FORBIDDEN, f"{key}: is taken in this container", field=key)
