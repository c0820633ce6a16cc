"""Attacks through the network: on the neighbour and on the machine."""

import contextlib
import errno
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import packets
from insula.emperor.isolation.attacks.contract import Absent, Held, Targets, attack

# How long we wait for an answer: packets are dropped without a word. A quarter of it is plenty.
_SECONDS = 1.0
_ALL_NODES = "ff02::1"
_LOOSE_SOURCE_ROUTE = 0x83
# Clouds' own services, which tell whoever asks from the machine what only the machine may know.
_METADATA = (
    ("169.254.169.254", 80), ("169.254.170.2", 80), ("100.100.100.200", 80),
    ("168.63.129.16", 80), ("168.63.129.16", 32526), ("192.0.0.192", 80),
)  # fmt: skip


# ---- the neighbour -------------------------------------------------------------------------------


@attack
def reach_neighbour_tcp(targets: Targets) -> str:
    """Straight on, with data in the first packet, and around by the machine (source routing)."""
    address = (targets.neighbour.ip, targets.neighbour.port)
    route = _loose_route(targets.machine.gateway, targets.neighbour.ip)
    sockets = _opened({
        "connect": partial(packets.connecting, address),
        "IPv6 with an IPv4 address": partial(
            packets.connecting, (f"::ffff:{address[0]}", address[1]), socket.AF_INET6
        ),
        "fast open": partial(_fast_open, address),
        "source routing": partial(_routed, address, route),
    })  # fmt: skip
    return _secret(targets, sockets)


@attack
def reach_neighbour_udp(targets: Targets) -> str:
    """Straight on, as a broadcast on the link, and around by the machine."""
    address = (targets.neighbour.ip, targets.neighbour.port)
    route = _loose_route(targets.machine.gateway, targets.neighbour.ip)
    sockets = _opened({
        "datagram": partial(sent, address),
        "fragments": partial(sent, address, b"x" * 4000),
        "broadcast": partial(_broadcast, targets.neighbour.port),
        "source routing": partial(_routed_datagram, address, route),
    })  # fmt: skip
    return _secret(targets, sockets)


@attack
def reach_neighbour_icmp(targets: Targets) -> str:
    """An echo request as every user may send it."""
    return _pinged([targets.neighbour.ip])


@attack
def reach_neighbour_ipv6(targets: Targets) -> str:
    """All nodes of every link are asked; nobody needs to know an address."""
    _need_ipv6()
    port = targets.neighbour.port
    tries = {
        f"all nodes of {name}": partial(_sent_v6, (_ALL_NODES, port, 0, index))
        for index, name in socket.if_nameindex()
    }
    return _secret(targets, _opened(tries))


# ---- the machine ---------------------------------------------------------------------------------


@attack
def reach_machine_tcp(targets: Targets) -> str:
    """Router, sshd and ports where nobody listens, at every address: a refusal is an answer."""
    ports = dict.fromkeys((*targets.machine.ports, 22, 53, 111, 9))
    return _reached_by_tcp([(item, port) for item in _addresses(targets) for port in ports])


@attack
def reach_machine_udp(targets: Targets) -> str:
    """A port where nobody listens is answered by the kernel, if it hears of it."""
    sockets = _opened({
        f"{address} port {port}": partial(sent, (address, port))
        for address in _addresses(targets)
        for port in (53, 67, 123, 33434)
    })  # fmt: skip
    return reached(sockets, "the machine")


@attack
def reach_machine_icmp(targets: Targets) -> str:
    """Its gateway answers pings, so that customers can look for faults; nothing else does."""
    others = [item for item in _addresses(targets) if item != targets.machine.gateway]
    if not others:
        raise Absent("the machine has no other address")
    return _pinged(others)


@attack
def reach_machine_ipv6(_targets: Targets) -> str:
    """Every node of the link is asked to answer a ping."""
    _need_ipv6()
    tries = {
        f"all nodes of {name}": partial(_pinged_all, index)
        for index, name in socket.if_nameindex()
        if name != "lo"
    }
    word = nonce()
    sockets = _opened({name: partial(make, word) for name, make in tries.items()})
    return reached(sockets, "a node", holds=word)


@attack
def reach_machine_loopback(targets: Targets) -> str:
    """What the machine offers to itself alone."""
    places = [("127.0.0.1", port) for port in targets.machine.ports]
    return _reached_by_tcp([*places, ("127.0.0.53", 53)], refusals=False)


@attack
def reach_metadata_service(_targets: Targets) -> str:
    """It hands out the machine's own credentials on many clouds."""
    return _reached_by_tcp(_METADATA)


@attack
def see_machines_connections(targets: Targets) -> str:
    """The kernel's own tables name what the machine and everybody on it is connected to."""
    ports = targets.machine.ports
    wanted = {f":{port:04X} " for port in ports} | {f"dport={port} " for port in ports}
    for name in ("tcp", "tcp6", "nf_conntrack"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines():
                if any(word in line for word in wanted):
                    return f"/proc/net/{name}: {line.strip()[:60]}"
    raise Held("the tables hold this container's own alone")


# ---- how it is done ------------------------------------------------------------------------------


def _opened(tries: Mapping[str, Callable[[], socket.socket]]) -> packets.Sockets:
    """What could be sent at all; raises Held when nothing could."""
    sockets: packets.Sockets = {}
    refusals = []
    for name, make in tries.items():
        try:
            sockets[name] = make()
        except OSError as error:
            refusals.append(str(error))
    if not sockets:
        raise Held("; ".join(dict.fromkeys(refusals)) or "nothing to try")
    return sockets


def _secret(targets: Targets, sockets: packets.Sockets) -> str:
    """Whether the neighbour's secret comes back."""
    secret = targets.neighbour.secret.encode()
    return reached(sockets, "the neighbour", holds=secret)


def reached(sockets: packets.Sockets, who: str, *, holds: bytes | None = None) -> str:
    """By which socket somebody answered; with ``holds`` an answer must hold this.

    Without, a refusal counts: who refuses was reached.
    """
    tried = len(sockets)
    name = packets.first_answer(sockets, seconds=_SECONDS, counts=lambda said: _counts(said, holds))
    if name is None:
        raise Held(f"no answer to any of {tried}")
    return f"{who} answers: {name}"


def _counts(said: bytes | OSError, holds: bytes | None) -> bool:
    if isinstance(said, OSError):
        return holds is None and said.errno == errno.ECONNREFUSED
    return holds is None or holds in said


def _reached_by_tcp(addresses: Iterable[tuple[str, int]], *, refusals: bool = True) -> str:
    tries = {
        f"{address} port {port}": partial(packets.connecting, (address, port))
        for address, port in addresses
    }
    name = packets.first_connection(_opened(tries), seconds=_SECONDS, refusals=refusals)
    if name is None:
        raise Held(f"no answer to any of {len(tries)}")
    return f"somebody answers: {name}"


def sent(address: tuple[str, int], payload: bytes = b"?") -> socket.socket:
    """A connected datagram socket that has sent: the kernel tells it about refusals."""
    item = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    item.setblocking(False)
    item.connect(address)
    item.send(payload)
    return item


def _sent_v6(address: tuple[str, int, int, int]) -> socket.socket:
    item = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    item.setblocking(False)
    item.sendto(b"?", address)
    return item


def _broadcast(port: int) -> socket.socket:
    item = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    item.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    item.setblocking(False)
    item.sendto(b"?", ("255.255.255.255", port))
    return item


def _fast_open(address: tuple[str, int]) -> socket.socket:
    item = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    item.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        item.sendto(b"?", socket.MSG_FASTOPEN, address)
    return item


def _loose_route(first: str, last: str) -> bytes:
    """IP options that lead a packet over ``first`` to ``last`` (RFC 791), filled up by an end."""
    hops = socket.inet_aton(first) + socket.inet_aton(last)
    return bytes((_LOOSE_SOURCE_ROUTE, 3 + len(hops), 4)) + hops + b"\0"


def _routed(address: tuple[str, int], route: bytes) -> socket.socket:
    item = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    item.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, route)
    packets.start(item, address)
    return item


def _routed_datagram(address: tuple[str, int], route: bytes) -> socket.socket:
    item = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    item.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, route)
    item.setblocking(False)
    item.sendto(b"?", address)
    return item


def _pinged(addresses: Iterable[str]) -> str:
    word = nonce()
    sockets = _opened({item: partial(_ping, item, word) for item in addresses})
    return reached(sockets, "somebody", holds=word)


def _ping(address: str, payload: bytes) -> socket.socket:
    item = packets.ping_socket(socket.AF_INET)
    item.setblocking(False)
    item.sendto(packets.echo_request(packets.ECHO, payload), (address, 0))
    return item


def _pinged_all(index: int, payload: bytes) -> socket.socket:
    item = packets.ping_socket(socket.AF_INET6)
    item.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    item.setblocking(False)
    item.sendto(packets.echo_request(packets.ECHO_V6, payload), (_ALL_NODES, 0, 0, index))
    return item


def _need_ipv6() -> None:
    if not Path("/proc/net/if_inet6").exists():
        raise Absent("this kernel has no IPv6")


def _addresses(targets: Targets) -> list[str]:
    return list(dict.fromkeys((targets.machine.gateway, *targets.machine.addresses)))


def nonce() -> bytes:
    return secrets.token_hex(8).encode()
