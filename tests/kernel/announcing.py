"""What the gate's tests say to it: a feed from a little API, and announcements of every kind."""

import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from insula.dominator import packet
from insula.vassals.spec import ContainerSpec, CustomerSpec, DesiredState, DomainSpec

KEYS = {number: rsa.generate_private_key(65537, 2048) for number in (1, 2, 3)}
CUSTOMER_OF = {30001: 1, 30002: 2}
_SEND = """
import socket, sys
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.sendto(sys.stdin.buffer.read(), sys.argv[1])
"""


def private_pem(customer: int) -> bytes:
    return KEYS[customer].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def public_pem(customer: int) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return KEYS[customer].public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def signed(
    key: str,
    address: str,
    *,
    customer: int,
    unix: int | None = None,
    leave: bool = False,
    notify: str = "",
) -> bytes:
    """An announcement as a stock app makes it."""
    moment = int(time.time()) + leave if unix is None else unix
    values: dict[str, str | int] = {"key": key, "address": address, "modifier1": 0}
    plain = packet.build(
        values | ({"notify": notify} if notify else {}) | {"unix": moment}, leave=leave
    )
    sign = KEYS[customer].sign(plain[4:], padding.PKCS1v15(), hashes.SHA256())
    body = plain[4:] + b"\x04\x00sign" + len(sign).to_bytes(2, "little") + sign
    return b"\xe0" + len(body).to_bytes(2, "little") + plain[3:4] + body


def send_as(uid: int, data: bytes, path: Path) -> None:
    """Send one datagram from a process of that uid; the gate sees it by the kernel's word."""
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", _SEND, str(path)], input=data, check=True,
        capture_output=True, user=uid, group=uid, extra_groups=[], timeout=10,
    )  # fmt: skip


def state(
    revision: int,
    domains: dict[str, int],
    *,
    detached: dict[str, int] | None = None,
    keys: dict[int, int] | None = None,
) -> DesiredState:
    """Containers 30001 and 30002 of customers 1 and 2; ``keys`` gives a customer another's key."""
    return DesiredState(
        "test",
        revision,
        tuple(
            ContainerSpec(
                uid, customer, f"c{uid}", f"c{uid}", "d", 1, revision, 0.0,
                2**29, 50, 2**30, 99, (), "", "running",
            )
            for uid, customer in CUSTOMER_OF.items()
        ),
        tuple(
            CustomerSpec(number, f"k{number}", public_pem((keys or {}).get(number, number)))
            for number in (1, 2)
        ),
        tuple(DomainSpec(name, owner, "attached") for name, owner in domains.items())
        + tuple(DomainSpec(name, owner, "detached") for name, owner in (detached or {}).items()),
    )  # fmt: skip


class FakeFeed:
    """The API's feed on a UNIX socket; holds a request until the state is a newer one."""

    def __init__(self) -> None:
        self._state = state(1, {})
        self._changed = threading.Condition()

    @property
    def revision(self) -> int:
        return self._state.revision

    def set(self, domains: dict[str, int], **more: dict[str, int] | dict[int, int]) -> None:
        """Replace the domains by a newer state."""
        with self._changed:
            self._state = state(self._state.revision + 1, domains, **more)  # type: ignore[arg-type]
            self._changed.notify_all()

    def after(self, revision: int) -> object:
        """What the API answers to ``since=revision``."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.revision > revision, timeout=1.0)
            if self._state.revision == revision:
                return {"unchanged": True, "revision": revision}
            return self._state.to_json()

    @contextmanager
    def serving(self, path: Path) -> Iterator[None]:
        server = _Server(str(path), _Handler)
        server.feed = self
        path.chmod(0o666)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    feed: FakeFeed

    def handle_error(self, request: object, client_address: object) -> None:
        """A gate that was killed while it waited is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        since = int(parse_qs(urlsplit(self.path).query)["since"][0])
        data = json.dumps(cast(_Server, self.server).feed.after(since)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
