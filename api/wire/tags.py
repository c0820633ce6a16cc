"""Tags: list, make, show, rename, delete."""

from django.http import HttpResponse

from insula.api.actions import tags as actions
from insula.api.models import Tag
from insula.api.wire.endpoint import Call, done, endpoint, said
from insula.vassals.errors import InvalidValue


def list_tags(call: Call) -> HttpResponse:
    listed: list[dict[str, object]] = [
        {"id": row.pk, "name": row.name} for row in call.customer.tags.all()
    ]
    return said(listed, request=call.request)


def create_tag(call: Call) -> HttpResponse:
    fields = call.fields()
    name = fields.text("name")
    if name is None:
        raise InvalidValue("name: is missing")
    row = actions.create_tag(call.actor, call.customer, name=name, note=fields.text("note") or "")
    return said(_tag(row), request=call.request, status=201)


def show_tag(call: Call, number: str) -> HttpResponse:
    return said(_tag(actions.find_tag(call.actor, int(number))), request=call.request)


def change_tag(call: Call, number: str) -> HttpResponse:
    fields = call.fields()
    row = actions.change_tag(
        call.actor, int(number), name=fields.text("name"), note=fields.text("note")
    )
    return said(_tag(row), request=call.request)


def delete_tag(call: Call, number: str) -> HttpResponse:
    actions.delete_tag(call.actor, int(number))
    return done(call.request)


def _tag(row: Tag) -> dict[str, object]:
    return {"id": row.pk, "name": row.name, "note": row.note}


tags = endpoint(get=list_tags, post=create_tag)
tag = endpoint(get=show_tag, post=change_tag, delete=delete_tag)
