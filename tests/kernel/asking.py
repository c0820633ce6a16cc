"""Requests to a routed node, and what its answers say about who got them."""

import re
import socket

from tests.kernel.announcing import send_as, signed
from tests.kernel.routed_node import RoutedNode, eventually


class Answer:
    """A response, cut into what the tests look at."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        found = re.match(r"HTTP/1\.\d (\d+) ", self.head)
        self.status = int(found[1]) if found else 0
        who = re.search(r"X-Who: (.*) end", self.head)
        self.told = dict(part.split("=", 1) for part in who[1].split(" ")) if who else {}
        self.app = self.told.get("app", "")


def ask(routed: RoutedNode, host: str, *, extra: str = "") -> Answer:
    return raw(routed, f"GET / HTTP/1.0\r\nHost: {host}\r\n{extra}\r\n")


def raw(routed: RoutedNode, text: str) -> Answer:
    with routed.connect() as client:
        return Answer(exchange(client, text))


def exchange(client: socket.socket, text: str) -> bytes:
    """Send a request, read until the other side ends or is silent."""
    client.sendall(text.encode("latin-1"))
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except (ConnectionResetError, TimeoutError):
        pass
    return data


def announce(
    routed: RoutedNode, domain: str, app: str, uid: int, *, address: str = "", leave: bool = False
) -> None:
    data = signed(domain, address or f"/run/sockets/{app}.sock", customer=uid - 30000, leave=leave)
    send_as(uid, data, routed.paths.subscribe(uid) / "http")


def everywhere(routed: RoutedNode, host: str, app: str, *, seconds: float = 4.0) -> None:
    """Wait until both router processes answer for the host from that app ("" for a page)."""
    eventually(
        lambda: all(ask(routed, host).app == app for _ in range(12)),
        seconds=seconds, about=f"{host} answered by {app or 'a page'}",
    )  # fmt: skip
