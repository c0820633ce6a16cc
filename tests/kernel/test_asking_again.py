"""A request that no app has begun is asked again; one that an app has begun is asked once."""

import itertools
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from insula.emperor.settings import ROUTER_UID
from tests import places
from tests.kernel.asking import Answer, announce, ask, everywhere, exchange, raw
from tests.kernel.routed_node import ROOT, RoutedNode, eventually, routed_node
from tests.patience import BUSY

pytestmark = pytest.mark.kernel

DOMAIN, UID = "shop.test.org", 30001
POST = f"POST / HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\nContent-Length: "
_numbers = itertools.count()


@pytest.fixture(scope="module")
def routed() -> Iterator[RoutedNode]:
    with routed_node() as routed:
        routed.feed.set({DOMAIN: 1})
        eventually(lambda: ask(routed, DOMAIN).status == 503, about="the state")
        yield routed


@dataclass
class Faltering:
    """The app under test, the only one of its domain."""

    routed: RoutedNode
    name: str
    pid: int

    def did(self) -> list[str]:
        """What it did with each connection of the test."""
        return (ROOT / f"{self.name}.did").read_text().splitlines()

    def end(self) -> None:
        announce(self.routed, DOMAIN, self.name, UID, leave=True)
        if self.routed.is_alive(self.pid):
            self.routed.kill(self.pid)
        (places.sockets(self.routed.paths, UID) / f"{self.name}.sock").unlink(missing_ok=True)


def _falter(routed: RoutedNode, mode: str, failures: int) -> Faltering:
    name = f"falter{next(_numbers)}"
    program = Path(__file__).parent / "faltering_app.py"
    path = places.sockets(routed.paths, UID) / f"{name}.sock"
    log = ROOT / f"{name}.did"
    pid = routed.start(
        name, sys.executable, program, name, path, UID, ROUTER_UID, log, mode, failures
    )
    eventually(path.is_socket)
    announce(routed, DOMAIN, name, UID)
    # Both router processes have it: the word goes from one to the other within a millisecond.
    seen = routed.paths.apps / str(UID) / "sockets" / path.name
    eventually(lambda: routed.log("router").count(f"new node: {seen}") >= 2, about="the route")
    return Faltering(routed, name, pid)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_request_that_was_closed_unread_is_asked_again(routed: RoutedNode, method: str) -> None:
    app = _falter(routed, "unread", 2)
    answer = raw(routed, f"{method} / HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n")
    app.end()
    assert (answer.status, answer.app) == (200, app.name)
    assert app.did() == ["unread", "unread", "read 0"]


def test_a_small_body_that_was_closed_unread_is_asked_again(routed: RoutedNode) -> None:
    app = _falter(routed, "unread", 2)
    answer = raw(routed, f"{POST}1000\r\n\r\n{'x' * 1000}")
    app.end()
    assert answer.status == 200
    assert app.did() == ["unread", "unread", "read 1000"]


def test_a_small_body_that_comes_late_and_in_pieces_is_whole(routed: RoutedNode) -> None:
    app = _falter(routed, "unread", 1)
    with routed.connect() as client:
        for piece in (f"{POST}900\r\n\r\n", "x" * 300, "x" * 599):
            client.sendall(piece.encode())
            time.sleep(0.2)
        assert app.did() == [], "an app was asked before the body was there"
        answer = Answer(exchange(client, "x"))
    app.end()
    assert answer.status == 200
    assert app.did() == ["unread", "read 900"]


def test_small_bodies_on_one_connection_stay_apart(routed: RoutedNode) -> None:
    app = _falter(routed, "unread", 1)
    head = f"POST / HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: "
    with routed.connect() as client:
        for size in (5, 0, 70, 3000):
            client.sendall(f"{head}{size}\r\n\r\n".encode())
            time.sleep(0.05)
            client.sendall(b"x" * size)
            assert b" 200 OK" in client.recv(65536)
    app.end()
    assert app.did() == ["unread", "read 5", "read 0", "read 70", "read 3000"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_an_app_sends_beyond_its_answer_reaches_nobody(
    routed: RoutedNode, method: str
) -> None:
    """A proxy that keeps one connection for all sites would take it for another site's answer."""
    app, data, said = _falter(routed, "overlong", 4), b"", b""
    with routed.connect() as client:
        for _ in range(4):
            client.sendall(f"{method} / HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
            end = b"ok\n" if method == "GET" else b"\r\n\r\n"
            while not data.endswith(end) and (said := client.recv(65536)):
                data += said
            assert data.endswith(end), f"the connection ended after {data!r}"
            time.sleep(0.2)
            answers, data = data, b""
            assert answers.count(b"HTTP/1.1 200 OK") == 1 and b"forged" not in answers
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(65536)
    app.end()
    assert app.did() == ["read 0"] * 4


def test_a_large_body_is_asked_once(routed: RoutedNode) -> None:
    """An app may have begun with it and read the rest later: a second time could order twice."""
    app = _falter(routed, "unread", 1)
    answer = raw(routed, f"{POST}20000\r\n\r\n{'x' * 20000}")
    app.end()
    assert answer.status == 502
    assert app.did() == ["unread"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_was_read_is_asked_once_and_answered_502(
    routed: RoutedNode, method: str
) -> None:
    app = _falter(routed, "read", 1)
    started = time.monotonic()
    # no Connection: close; a connection that is kept must not wait for what never comes
    head = f"{method} / HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 0\r\n\r\n"
    answer = raw(routed, head)
    seconds = time.monotonic() - started
    app.end()
    assert answer.status == 502 and b"ended before it answered" in answer.body
    assert "Connection: close" in answer.head
    assert app.did() == ["read 0"]
    assert seconds < 1.0 * BUSY


def test_an_app_that_never_reads_is_asked_four_times(routed: RoutedNode) -> None:
    app = _falter(routed, "unread", 1000)
    answer = ask(routed, DOMAIN)
    app.end()
    assert answer.status == 502
    assert app.did() == ["unread"] * 4


def test_a_reset_takes_no_app_out_of_the_table(routed: RoutedNode) -> None:
    app = _falter(routed, "unread", 1000)
    for _ in range(6):
        ask(routed, DOMAIN)
    seen = len(app.did())
    assert ask(routed, DOMAIN).status == 502
    assert len(app.did()) == seen + 4, "the router stopped asking it"
    app.end()


@pytest.mark.parametrize("text", [
    f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n",
    f"{POST}5\r\n\r\n12345",
], ids=["GET", "POST"])  # fmt: skip
def test_what_waits_in_a_killed_apps_queue_is_answered_by_the_other(
    routed: RoutedNode, text: str
) -> None:
    # Within one second the same announcement twice is a replay, so each has an app of its own.
    other = f"other-{text[:3]}"
    routed.app(other, UID)
    announce(routed, DOMAIN, other, UID)
    everywhere(routed, DOMAIN, other)
    app = _falter(routed, "deaf", 0)
    # Connections into the test's network come from threads of their own, one for each request.
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(lambda: raw(routed, text)) for _ in range(12)]
        # The router takes turns, so half of them wait for the one that never accepts.
        eventually(lambda: sum(future.done() for future in waiting) >= 4)
        time.sleep(0.5)
        assert not all(future.done() for future in waiting)
        routed.kill(app.pid)
        answers = [future.result() for future in waiting]
    app.end()
    announce(routed, DOMAIN, other, UID, leave=True)
    assert {(answer.status, answer.app) for answer in answers} == {(200, other)}


def test_a_client_that_leaves_while_its_body_is_waited_for_leaves_nothing(
    routed: RoutedNode,
) -> None:
    app = _falter(routed, "unread", 0)
    assert ask(routed, DOMAIN).status == 200
    before = _open_sockets(routed)
    for _ in range(50):
        with routed.connect() as client:
            client.sendall(f"{POST}900\r\n\r\n{'x' * 10}".encode())
    eventually(lambda: _open_sockets(routed) <= before, about="the sessions' end")
    assert ask(routed, DOMAIN).status == 200
    assert app.did() == ["read 0", "read 0"]
    app.end()


def _open_sockets(routed: RoutedNode) -> int:
    """What the router's processes hold."""
    listing = routed.run("ls", "-l", *(f"/proc/{pid}/fd" for pid in routed.router_children()))
    return listing.count("socket:")
