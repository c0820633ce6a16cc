"""Nodes as operators describe them: address, owner, and how much may be promised there."""

from datetime import datetime

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import IPvAnyAddress, StrictInt

from insula.api.actions.nodes import describe_node
from insula.api.customer.auth import actor_of, customer_for
from insula.api.customer.schemas import Body
from insula.api.models import Node

router = Router(tags=["nodes"])


class NodeDescription(Body):
    """Replaces what was said before. A node with an owner needs all the others."""

    address: IPvAnyAddress | None = None
    owner: str | None = None
    memory_bytes: StrictInt | None = None
    storage_bytes: StrictInt | None = None


class NodeOut(Schema):
    name: str
    address: str | None
    owner: str | None
    memory_bytes: int | None
    storage_bytes: int | None
    revision: int
    reported_at: datetime | None


def _node_out(row: Node) -> NodeOut:
    return NodeOut(
        name=row.name,
        address=row.address,
        owner=None if row.owner is None else row.owner.name,
        memory_bytes=row.memory_bytes,
        storage_bytes=row.storage_bytes,
        revision=row.revision,
        reported_at=row.reported_at,
    )


@router.get("/nodes", response=list[NodeOut])
def list_nodes(request: HttpRequest) -> list[NodeOut]:
    """All nodes that have reported; operators only."""
    actor_of(request).must_be_operator()
    return [_node_out(row) for row in Node.objects.select_related("owner").order_by("name")]


@router.put("/nodes/{name}", response=NodeOut)
def put_node(request: HttpRequest, name: str, body: NodeDescription) -> NodeOut:
    """Say what a node is; operators only."""
    actor = actor_of(request)
    actor.must_be_operator()
    owner = None if body.owner is None else customer_for(actor, body.owner)
    address = None if body.address is None else str(body.address)
    row = describe_node(
        actor, name, address=address, owner=owner, memory_bytes=body.memory_bytes,
        storage_bytes=body.storage_bytes,
    )  # fmt: skip
    return _node_out(row)
