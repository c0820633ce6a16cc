"""Visitors who ask for pages in threads, each request by a name of its own; note what fails."""

import itertools
import socket
import threading
import time
from dataclasses import dataclass, field

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Loss:
    """A request without a whole answer of status 200."""

    at: float
    request: str
    kind: str


@dataclass
class Visitors:
    """``plain`` and ``kept`` threads ask while the ``with`` block runs: a connection for each
    request, and one connection for many. Every fourth request is a POST with a small body."""

    port: int
    host: str
    plain: int = 4
    kept: int = 4
    pause: float = 0.002
    count: int = 0
    losses: list[Loss] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._visit, args=(f"v{number}", number < self.kept))
            for number in range(self.plain + self.kept)
        ]

    def __enter__(self) -> "Visitors":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, name: str, keeps: bool) -> None:
        connection: socket.socket | None = None
        for number in itertools.count():
            if self._stop.wait(self.pause):
                break
            request, started = f"{name}-{number}", time.monotonic()
            method = "POST" if number % 4 == 3 else "GET"
            kind = "refused"
            try:
                connection = connection or self._connect()
                kind = _ask(connection, method, request, self.host, keeps=keeps)
            except TimeoutError:
                kind = "timeout"
            except OSError as error:
                kind = f"error {error.errno}"
            if connection and (kind or not keeps):
                connection.close()
                connection = None
            with self._lock:
                self.count += 1
                self.seconds.append(time.monotonic() - started)
                if kind:
                    self.losses.append(Loss(time.time(), f"{method} {request}", kind))
        if connection:
            connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _ask(connection: socket.socket, method: str, request: str, host: str, *, keeps: bool) -> str:
    """Empty when the answer was whole and its status 200; else what was wrong."""
    body = "" if method == "GET" else "a=1"
    head = f"{method} /{request} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    head += "" if keeps else "Connection: close\r\n"
    connection.sendall(f"{head}\r\n{body}".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = connection.recv(65536)
        if not more:
            return "cut" if answer else "closed without an answer"
        answer += more
    start, _, rest = answer.partition(b"\r\n\r\n")
    status = start.split(b" ", 2)[1].decode()
    length = _length(start)
    while len(rest) < length:
        more = connection.recv(65536)
        if not more:
            return "cut"
        rest += more
    return "" if status == "200" else f"status {status}"


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
