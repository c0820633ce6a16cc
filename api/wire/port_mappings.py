"""Port mappings of one's own node: list, keep, forget. Whatever is wrong is 403."""

from django.http import HttpResponse

from insula.api.actions import port_mappings as actions
from insula.api.actions.nodes import owned_node
from insula.api.errors import ApiError, Code
from insula.api.models import PortMapping
from insula.api.wire.containers import container_of
from insula.api.wire.endpoint import NOT_APPLIED, Call, created, done, endpoint, said
from insula.api.wire.fields import Fields
from insula.vassals.errors import InvalidValue


def list_mappings(call: Call, address: str) -> HttpResponse:
    rows = owned_node(call.customer, address).port_mappings.select_related("container")
    listed: list[dict[str, object]] = [_mapping(row) for row in rows]
    return said(listed, request=call.request)


def create_mapping(call: Call, address: str) -> HttpResponse:
    node = owned_node(call.customer, address)
    fields = call.fields()
    container = container_of(call.actor, _number(fields, "container"))
    row = actions.map_port(
        call.actor, node, container.uid, proto=_text(fields, "proto"),
        public_port=_number(fields, "public_port"), private_port=_number(fields, "private_port"),
    )  # fmt: skip
    return created(call.request, id=row.pk)


def delete_mapping(call: Call, address: str) -> HttpResponse:
    node = owned_node(call.customer, address)
    actions.unmap_port(call.actor, node, _number(call.fields(), "id"))
    return done(call.request)


def _number(fields: Fields, key: str) -> int:
    try:
        value = fields.number(key)
    except InvalidValue as error:
        raise ApiError(Code.FORBIDDEN, error.message) from error
    if value is None:
        raise ApiError(Code.FORBIDDEN, f"{key}: is missing")
    return value


def _text(fields: Fields, key: str) -> str:
    try:
        return fields.text(key) or ""
    except InvalidValue as error:
        raise ApiError(Code.FORBIDDEN, error.message) from error


def _mapping(row: PortMapping) -> dict[str, object]:
    return {
        "id": row.pk,
        "proto": row.proto,
        "public_port": row.public_port,
        "container": row.container.uid,
        "container_ip": row.container.address,
        "private_port": row.private_port,
        **NOT_APPLIED,
    }


port_mappings = endpoint(get=list_mappings, post=create_mapping, delete=delete_mapping)
