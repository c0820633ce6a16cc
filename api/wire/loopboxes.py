"""Loopboxes: list, make, show, tag, delete."""

from django.http import HttpResponse

from insula.api.actions import loopboxes as actions
from insula.api.errors import ApiError, Code
from insula.api.models import Loopbox
from insula.api.wire.containers import container_of, names_of_tags
from insula.api.wire.endpoint import NOT_APPLIED, Call, created, done, endpoint, said
from insula.api.wire.fields import query_number, query_tags


def list_loopboxes(call: Call) -> HttpResponse:
    rows = Loopbox.objects.filter(
        container__customer=call.customer, container__state="running"
    ).select_related("container").prefetch_related("tags")  # fmt: skip
    uid = query_number(call.request, "container")
    if uid is not None:
        rows = rows.filter(container=container_of(call.actor, uid))
    names = query_tags(call.request)
    if names is not None:
        tags = call.customer.tags.filter(name__in=names)
        through = Loopbox.tags.through.objects.filter(tag__in=tags)
        rows = rows.filter(pk__in=through.values("loopbox"))
    return said([_loopbox(row) for row in rows], request=call.request)


def create_loopbox(call: Call) -> HttpResponse:
    fields = call.fields()
    uid = fields.number("container")
    filename, mountpoint = fields.text("filename"), fields.text("mountpoint")
    if uid is None or filename is None or mountpoint is None:
        raise ApiError(Code.FORBIDDEN, "container, filename and mountpoint are needed")
    row = actions.create_loopbox(
        call.actor, container_of(call.actor, uid).uid, filename=filename, mountpoint=mountpoint,
        is_read_only=fields.flag("ro") or False,
    )  # fmt: skip
    return created(call.request, **_loopbox(row))


def show_loopbox(call: Call, number: str) -> HttpResponse:
    return said(_loopbox(actions.find_loopbox(call.actor, int(number))), request=call.request)


def tag_loopbox(call: Call, number: str) -> HttpResponse:
    row = actions.find_loopbox(call.actor, int(number))
    fields = call.fields()
    if not fields.values:
        raise ApiError(Code.FORBIDDEN, "an empty object changes nothing")
    tags = fields.texts("tags")
    if tags is not None:
        row = actions.tag_loopbox(call.actor, row.pk, tags)
    return said(_loopbox(row), request=call.request)


def delete_loopbox(call: Call, number: str) -> HttpResponse:
    actions.delete_loopbox(call.actor, int(number))
    return done(call.request)


def _loopbox(row: Loopbox) -> dict[str, object]:
    return {
        "id": row.pk,
        "container": row.container.uid,
        "filename": row.filename,
        "mountpoint": row.mountpoint,
        "ro": row.ro,
        "tags": names_of_tags(row),
        **NOT_APPLIED,
    }


loopboxes = endpoint(get=list_loopboxes, post=create_loopbox)
loopbox = endpoint(get=show_loopbox, post=tag_loopbox, delete=delete_loopbox)
