"""Custom distros: list, say where one lies, show, change, forget."""

from django.http import HttpResponse

from insula.api.actions import custom_distros as actions
from insula.api.errors import ApiError, Code
from insula.api.models import CustomDistro
from insula.api.wire.containers import container_of
from insula.api.wire.endpoint import NOT_APPLIED, Call, created, done, endpoint, said


def list_all(call: Call) -> HttpResponse:
    rows = CustomDistro.objects.select_related("container").filter(
        container__customer=call.customer, container__state="running"
    )
    listed: list[dict[str, object]] = [
        {"id": row.pk, "name": row.name, "container": row.container.uid} for row in rows
    ]
    return said(listed, request=call.request)


def list_usable(call: Call, uid: str) -> HttpResponse:
    rows = actions.usable_by(container_of(call.actor, int(uid)))
    listed: list[dict[str, object]] = [{"id": row.pk, "name": row.name} for row in rows]
    return said(listed, request=call.request)


def create_distro(call: Call, uid: str) -> HttpResponse:
    container = container_of(call.actor, int(uid))
    fields = call.fields()
    name, path = fields.text("name"), fields.text("path")
    if name is None or path is None:
        raise ApiError(Code.FORBIDDEN, "name and path are needed")
    note = fields.text("note") or ""
    row = actions.create_distro(call.actor, container.uid, name=name, path=path, note=note)
    return created(call.request, **_distro(row))


def show_distro(call: Call, number: str) -> HttpResponse:
    return said(_distro(actions.find_distro(call.actor, int(number))), request=call.request)


def change_distro(call: Call, number: str) -> HttpResponse:
    actions.find_distro(call.actor, int(number))
    fields = call.fields()
    row = actions.change_distro(
        call.actor, int(number), name=fields.text("name"), path=fields.text("path"),
        note=fields.text("note"),
    )  # fmt: skip
    return said(_distro(row), request=call.request)


def delete_distro(call: Call, number: str) -> HttpResponse:
    actions.delete_distro(call.actor, int(number))
    return done(call.request)


def _distro(row: CustomDistro) -> dict[str, object]:
    return {
        "id": row.pk,
        "container": row.container.uid,
        "name": row.name,
        "path": row.path,
        "note": row.note,
        "uuid": str(row.uuid),
        **NOT_APPLIED,
    }


all_of_mine = endpoint(get=list_all)
of_container = endpoint(get=list_usable, post=create_distro)
custom_distro = endpoint(get=show_distro, post=change_distro, delete=delete_distro)
