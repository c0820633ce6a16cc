"""What uWSGI's stats sockets say: an Emperor's vassals, a router's apps."""

import json
import socket
import time
from pathlib import Path

from insula.emperor.kernel import beneath


def vassals_of(stats: Path, *, timeout: float = 2.0) -> list[dict[str, object]]:
    """What an Emperor says about its vassals on its stats socket; empty when it does not answer."""
    return _listed(stats, "vassals", timeout)


def subscriptions_of(stats: Path, *, timeout: float = 2.0) -> list[tuple[str, str, int]]:
    """A router process's apps: domain, address, and when it last heard of it (unix seconds)."""
    found = []
    for item in _listed(stats, "subscriptions", timeout):
        nodes = item.get("nodes")
        for node in nodes if isinstance(nodes, list) else []:
            found.append((str(item.get("key")), str(node.get("name")), _number(node["last_check"])))
    return found


def _listed(stats: Path, key: str, timeout: float) -> list[dict[str, object]]:
    data = b""
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            # The router's directory is not root's.
            beneath.connect(connection, stats)
            while time.monotonic() < deadline and (part := connection.recv(65536)):
                data += part
        found = json.loads(data)
    except (OSError, ValueError):
        return []
    items = found.get(key, []) if isinstance(found, dict) else []
    return [item for item in items if isinstance(item, dict)]


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
