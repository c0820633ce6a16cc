"""Keeps which ports of a customer's node are to lead where; no node opens them yet."""

from django.db import transaction

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.actions.containers import running_container
from insula.api.errors import ApiError, Code
from insula.api.models import Node, PortMapping

PROTOCOLS = ("tcp", "udp")
PORTS = range(1024, 65536)
# The ancestor's nodes need these themselves.
RESERVED_PORTS = frozenset({1999, 3022, 3026})
MAXIMUM_MAPPINGS = 10_000


def map_port(
    actor: Actor, node: Node, uid: int, *, proto: str, public_port: int, private_port: int
) -> PortMapping:
    """Keep a mapping. Raises ApiError: forbidden, whatever is wrong."""
    if proto not in PROTOCOLS:
        raise _refused("proto: should be tcp or udp")
    if public_port not in PORTS or private_port not in PORTS:
        raise _refused("public_port, private_port: should be from 1024 to 65535")
    if public_port in RESERVED_PORTS:
        raise _refused(f"public_port: {public_port} is the node's own")
    with transaction.atomic():
        Node.objects.select_for_update().get(pk=node.pk)
        container = running_container(actor, uid)
        found = node.port_mappings.filter(proto=proto)
        if found.filter(public_port=public_port).exists():
            raise _refused(f"public_port: {public_port}/{proto} is taken on this server")
        if found.filter(container=container, private_port=private_port).exists():
            raise _refused(f"private_port: {private_port}/{proto} of {uid} is mapped already")
        if node.port_mappings.count() >= MAXIMUM_MAPPINGS:
            raise _refused(f"this server has {MAXIMUM_MAPPINGS} port mappings")
        row = PortMapping.objects.create(
            node=node, container=container, proto=proto, public_port=public_port,
            private_port=private_port,
        )  # fmt: skip
        audit(actor, "map-port", str(uid), f"{public_port}/{proto} to {private_port}")
    return row


def unmap_port(actor: Actor, node: Node, number: int) -> None:
    """Forget a mapping. Raises ApiError: forbidden."""
    with transaction.atomic():
        row = node.port_mappings.filter(pk=number).first()
        if row is None:
            raise _refused(f"id: there is no port mapping {number} on this server")
        row.delete()
        audit(actor, "unmap-port", node.name, f"{row.public_port}/{row.proto}")


def _refused(text: str) -> ApiError:
    return ApiError(Code.FORBIDDEN, text)
