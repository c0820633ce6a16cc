"""One number names a container everywhere: its uid, its group, its address, its directories."""

from ipaddress import IPv4Address, IPv4Network

from insula.vassals.errors import InvalidValue

UID_BASE = 30000
# Debian policy reserves 30000-59999; above lie nobody and systemd's dynamic users.
UID_LAST = 59999
API_UID = UID_BASE
GATEWAY_OFFSET = 1
ADDRESS_OFFSET = 2
DEFAULT_NETWORK = IPv4Network("10.0.0.0/8")


def uid_of(container_id: int) -> int:
    """The uid of a container's database id.

    Raises InvalidValue when the id is negative or all uids of the platform are used up.
    """
    uid = UID_BASE + container_id
    if container_id < 0 or uid > UID_LAST:
        raise InvalidValue(
            f"container id {container_id}: no uid between {UID_BASE} and {UID_LAST} is left",
            "uids are never reused; start a second control plane",
        )
    return uid


def is_container_uid(uid: int) -> bool:
    """True for the API's container and for every customer's."""
    return UID_BASE <= uid <= UID_LAST


def parse_uid(text: str) -> int:
    """Read a uid strictly: five decimal digits and nothing else.

    Raises InvalidValue for anything that is not a container's uid.
    """
    if len(text) == 5 and text.isascii() and text.isdigit() and is_container_uid(int(text)):
        return int(text)
    raise InvalidValue(
        f"{text!r} is not a container's uid", f"a uid is {UID_BASE} + id, for instance 30001"
    )


def gateway_of(network: IPv4Network) -> IPv4Address:
    """The address that every container of the node uses as its next hop."""
    return network[GATEWAY_OFFSET]


def address_of(uid: int, network: IPv4Network) -> IPv4Address:
    """The container's own address: network base + id + 2.

    Raises InvalidValue when the network is too small for this uid.
    """
    offset = uid - UID_BASE + ADDRESS_OFFSET
    if offset >= network.num_addresses - 1:
        raise InvalidValue(
            f"network {network} has no address for container {uid}",
            "give the node a larger network",
        )
    return network[offset]
