"""Requests and bytes of every domain, from the stats sockets of the router's processes."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from insula.vassals.errors import InsulaError, InvalidValue
from insula.vassals.spec import Reader

SECONDS = 2.0
LARGEST_BYTES = 64 * 1024 * 1024
# More router processes than any machine of ours has.
MOST_PROCESSES = 256
LARGEST_COUNTER = 1 << 64
# The gate's keys for the platform's own pages hold a slash, no domain does.
MARKER = "mapped/"


@dataclass(frozen=True, slots=True)
class AppFigures:
    """What one router process counted for one app of one domain."""

    pid: int
    domain: str
    address: str
    is_alive: bool
    requests: int
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """All domains of the node: attached ones that nobody announces have no app."""

    domains: frozenset[str]
    apps: tuple[AppFigures, ...]


def traffic(directory: Path) -> Traffic:
    """Ask every router process; empty while there is no router. Raises InvalidValue."""
    domains: set[str] = set()
    apps: list[AppFigures] = []
    for data in _answers(directory / "stats.sock"):
        found = parse(data)
        domains |= found.domains
        apps += found.apps
    return Traffic(frozenset(domains), tuple(apps))


def parse(data: bytes) -> Traffic:
    """Read one process's answer. Raises InvalidValue that names what is wrong."""
    try:
        read = Reader(json.loads(data), "router")
    except ValueError as error:
        raise InvalidValue("router: the stats are not JSON") from error
    pid = read.integer("pid", 0, 1 << 31)
    domains: set[str] = set()
    apps: list[AppFigures] = []
    for item in read.items("subscriptions"):
        slot = Reader(item, "router.subscriptions")
        key = slot.text("key", 512)
        domain = key.removeprefix(MARKER)
        if "/" in domain:
            continue
        domains.add(domain)
        if domain == key:
            apps += (_app(pid, domain, node) for node in slot.items("nodes"))
    return Traffic(frozenset(domains), tuple(apps))


def _app(pid: int, domain: str, value: object) -> AppFigures:
    node = Reader(value, f"router.{domain}")
    return AppFigures(
        pid=pid,
        domain=domain,
        address=node.text("name", 512),
        is_alive=node.integer("death_mark", 0, LARGEST_COUNTER) == 0,
        requests=node.integer("requests", 0, LARGEST_COUNTER),
        # uWSGI names them as the router sees the app: it transmits what the client sent.
        received_bytes=node.integer("tx", 0, LARGEST_COUNTER),
        sent_bytes=node.integer("rx", 0, LARGEST_COUNTER),
    )


def _answers(first: Path) -> Iterator[bytes]:
    # Each process counts alone. Stock uWSGI lets only the first one answer; ours answer on
    # stats.sock, stats.sock.1 and so on. The directory cannot be listed by us.
    for rank in range(MOST_PROCESSES):
        path = first.with_name(f"{first.name}.{rank}") if rank else first
        try:
            data = ask(path)
        except FileNotFoundError:
            return
        except OSError:
            # It starts at this moment, or was ended: its socket's file stays.
            continue
        if data:
            yield data


def ask(path: Path) -> bytes:
    """Connect and read to the end. Raises OSError.

    Read at once: the process serves nobody while it writes its figures.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        chunks = []
        size = 0
        while chunk := connection.recv(1 << 18):
            chunks.append(chunk)
            size += len(chunk)
            if size > LARGEST_BYTES:
                raise InsulaError(f"{path}: the answer is larger than {LARGEST_BYTES} bytes")
    return b"".join(chunks)
