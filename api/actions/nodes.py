"""Says what a node is: its address, its owner, and how much may be promised on it."""

from ipaddress import ip_address

from django.db.models import Sum

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit, change
from insula.api.actions.facts import NODE_NAME
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Container, Customer, Node
from insula.vassals import spec
from insula.vassals.errors import InvalidValue


def describe_node(
    actor: Actor,
    name: str,
    *,
    address: str | None,
    owner: Customer | None,
    memory_bytes: int | None,
    storage_bytes: int | None,
) -> Node:
    """Replace all that is known about a node; operators only. Raises ApiError or InvalidValue."""
    actor.must_be_operator()
    for path, value in (("memory_bytes", memory_bytes), ("storage_bytes", storage_bytes)):
        if value is not None and not 0 < value <= spec.MAXIMUM_BYTES:
            raise InvalidValue(f"{path}: should be from 1 to {spec.MAXIMUM_BYTES}")
    if owner is not None and None in (address, memory_bytes, storage_bytes):
        raise InvalidValue("owner: a node with an owner needs address, memory and storage")
    with change():
        row = Node.objects.filter(name=name).first()
        if row is None:
            raise not_found(f"node {name[:64]}")
        row.address, row.owner = address, owner
        row.memory_bytes, row.storage_bytes = memory_bytes, storage_bytes
        row.save(update_fields=["address", "owner", "memory_bytes", "storage_bytes"])
        audit(actor, "describe-node", name, "" if owner is None else f"owner {owner.name}")
    return row


def the_node() -> Node | None:
    """The node that runs all containers; None before its first report."""
    return Node.objects.filter(name=NODE_NAME).first()


def owned_node(customer: Customer, address: str) -> Node:
    """The customer's own node with this address. Raises ApiError: forbidden."""
    try:
        row = Node.objects.filter(owner=customer, address=str(ip_address(address))).first()
    except ValueError:
        row = None
    if row is None:
        raise ApiError(Code.FORBIDDEN, f"server: {address[:64]!r} is no server of yours")
    return row


def must_fit(row: Container) -> None:
    """Refuse what would promise more than the node has; ``row`` counts as it is to be.

    Call it inside ``change()``: all changes stand in one queue. Raises ApiError.
    """
    node = the_node()
    if node is None:
        return
    others = Container.objects.filter(state="running").exclude(pk=row.pk)
    used = others.aggregate(memory=Sum("memory_bytes"), storage=Sum("storage_bytes"))
    for word, wanted, limit in (
        ("memory", row.memory_bytes, node.memory_bytes),
        ("storage", row.storage_bytes, node.storage_bytes),
    ):
        if limit is not None and (used[word] or 0) + wanted > limit:
            raise ApiError(Code.CONFLICT, f"not enough {word}")
