"""The patched router and the pages: which request reaches whom, and what an app is told."""

import base64
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha1
from http.client import HTTPConnection
from pathlib import Path

import pytest

from insula.dominator import packet
from tests import places
from tests.kernel.asking import Answer, announce, ask, everywhere, exchange, raw
from tests.kernel.routed_node import HTTPS, ROOT, RoutedNode, eventually, routed_node
from tests.patience import BUSY

pytestmark = pytest.mark.kernel

DOMAINS = {"shop.test.org": 1, ".wild.org": 1, "exact.wild.org": 2, "b.test.org": 2}
LONG = "a." * 120 + "wild.org"


@pytest.fixture(scope="module")
def routed() -> Iterator[RoutedNode]:
    """shop.test.org and .wild.org are customer 1's, both announced; customer 2's are not."""
    with routed_node() as routed:
        routed.feed.set(DOMAINS)
        eventually(lambda: ask(routed, "b.test.org").status == 503, about="the state")
        routed.app("shop", 30001)
        routed.app("wild", 30001)
        routed.app("b", 30002)
        announce(routed, "shop.test.org", "shop", 30001)
        announce(routed, ".wild.org", "wild", 30001)
        everywhere(routed, "shop.test.org", "shop")
        everywhere(routed, "x.wild.org", "wild")
        yield routed


@pytest.mark.parametrize(
    ("host", "app"),
    [
        ("shop.test.org", "shop"),
        ("shop.test.org:18480", "shop"),
        ("SHOP.Test.ORG", "shop"),
        ("shop.test.org.", "shop"),
        ("Shop.test.org.:80", "shop"),
        ("x.wild.org", "wild"),
        ("a.b.c.d.e.f.g.wild.org", "wild"),
        ("X.WILD.ORG.", "wild"),
    ],
)
def test_a_host_is_found_with_port_in_any_case_and_with_a_final_dot(
    routed: RoutedNode, host: str, app: str
) -> None:
    assert ask(routed, host).app == app


def test_an_exact_name_whose_app_is_away_gets_the_503_page_not_the_wildcards_app(
    routed: RoutedNode,
) -> None:
    for host in ("exact.wild.org", "Exact.Wild.Org:80", "exact.wild.org."):
        answers = [ask(routed, host) for _ in range(8)]
        assert {(a.status, a.app) for a in answers} == {(503, "")}


@pytest.mark.parametrize(
    "host",
    [
        "nobody.test", "wild.org", ".wild.org", "..wild.org", "mapped/shop.test.org",
        "mapped/.wild.org", "unknown/", "unknown", "", " ", ":80", ".", "-", "127.0.0.1",
        "[::1]:80", "shop.test.org/", "shop.test.org\\", "shop.test.org,b.test.org",
        "x@shop.test.org", "shop.test.org\x00", "shop.test.org\x7f", "shop test.org",
        "a." * 60 + "wild.org", LONG, "x" * 255, "x" * 256, "x" * 5000,
    ],
)  # fmt: skip
def test_a_crafted_host_gets_the_421_page_and_reaches_no_app(routed: RoutedNode, host: str) -> None:
    for _ in range(4):
        answer = ask(routed, host)
        assert (answer.status, answer.app) == (421, ""), answer.head


def test_two_hosts_in_one_request_reach_no_app(routed: RoutedNode) -> None:
    answer = raw(routed, "GET / HTTP/1.0\r\nHost: shop.test.org\r\nHost: b.test.org\r\n\r\n")
    assert (answer.status, answer.app) == (421, "")


def test_a_request_without_a_host_reaches_no_app(routed: RoutedNode) -> None:
    assert raw(routed, "GET / HTTP/1.0\r\n\r\n").status == 421


def test_the_request_lines_host_chooses_nobody(routed: RoutedNode) -> None:
    """The Host header decides alone; an app cannot be reached under a name in the request line."""
    elsewhere = raw(routed, "GET http://b.test.org/ HTTP/1.1\r\nHost: shop.test.org\r\n"
                            "Connection: close\r\n\r\n")  # fmt: skip
    assert elsewhere.app == "shop"
    unknown = raw(routed, "GET http://shop.test.org/ HTTP/1.0\r\nHost: nobody.test\r\n\r\n")
    assert (unknown.status, unknown.app) == (421, "")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(("host", "status"), [("nobody.test", 421), ("exact.wild.org", 503)])
def test_both_pages_answer_every_method_and_path(
    routed: RoutedNode, method: str, host: str, status: int
) -> None:
    body = "Content-Length: 3\r\n" if method == "POST" else ""
    request = f"{method} /a/../b?c HTTP/1.0\r\nHost: {host}\r\n{body}\r\n"
    answer = raw(routed, request + ("a=b" if body else ""))
    assert answer.status == status and "Cache-Control: no-store" in answer.head
    assert bool(answer.body) is (method != "HEAD")
    if answer.body:
        assert f"INS-{status}".encode() in answer.body


def test_what_only_a_proxy_may_say_is_overwritten(routed: RoutedNode) -> None:
    forged = (
        "X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.7\r\nx-forwarded-proto: https\r\n"
        "X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nProxy: http://evil\r\n"
    )
    told = ask(routed, "shop.test.org", extra=forged).told
    assert (told["for"], told["proto"], told["https"]) == ("127.0.0.1", "http", "")
    assert (told["real"], told["std"], told["proxy"]) == ("", "", "")


def _tls(routed: RoutedNode, *, server_name: str, version: ssl.TLSVersion | None = None) -> Answer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        # The machine's own OpenSSL would refuse to offer an old version at its default level.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
    with routed.connect(HTTPS) as plain:
        with context.wrap_socket(plain, server_hostname=server_name) as client:
            text = "GET / HTTP/1.0\r\nHost: shop.test.org\r\nX-Forwarded-Proto: http\r\n\r\n"
            return Answer(exchange(client, text))


def test_an_app_behind_https_is_told_so(routed: RoutedNode) -> None:
    told = _tls(routed, server_name="shop.test.org").told
    assert (told["app"], told["proto"], told["https"]) == ("shop", "https", "on")


def test_tls_1_2_is_the_oldest_that_is_spoken(routed: RoutedNode) -> None:
    newer = _tls(routed, server_name="shop.test.org", version=ssl.TLSVersion.TLSv1_2)
    assert newer.app == "shop"
    with pytest.warns(DeprecationWarning), pytest.raises((ssl.SSLError, OSError)):
        _tls(routed, server_name="shop.test.org", version=ssl.TLSVersion.TLSv1_1)


def test_one_connection_that_switches_customers_gets_the_right_one_each_time(
    routed: RoutedNode,
) -> None:
    announce(routed, "b.test.org", "b", 30002)
    everywhere(routed, "b.test.org", "b")
    hosts = ["shop.test.org", "b.test.org", "exact.wild.org", "x.wild.org", "nobody.test"] * 8
    seen = []
    with routed.connect() as client:
        for host in hosts:
            client.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = _read_one(client)
            seen.append(answer.app or str(answer.status))
    assert seen == ["shop", "b", "503", "wild", "421"] * 8


def _read_one(client: socket.socket) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        assert piece, "the router closed a connection that it should keep"
        data += piece
    length = re.search(rb"Content-Length: (\d+)", data)
    chunked = b"Transfer-Encoding: chunked" in data
    head = data.index(b"\r\n\r\n") + 4
    while (length and len(data) < head + int(length[1])) or (
        chunked and not data.endswith(b"0\r\n\r\n")
    ):
        data += client.recv(65536)
    return Answer(data)


def test_pipelined_requests_do_not_cross_customers(routed: RoutedNode) -> None:
    with routed.connect() as client:
        data = exchange(
            client,
            "POST / HTTP/1.1\r\nHost: shop.test.org\r\nContent-Length: 4\r\n\r\nabcd"
            "GET / HTTP/1.0\r\nHost: b.test.org\r\n\r\n",
        )
    for who in re.findall(rb"X-Who: app=(\w+) host=(\S+)", data):
        assert who in {(b"shop", b"shop.test.org"), (b"b", b"b.test.org")}


def test_a_websocket_passes_end_to_end(routed: RoutedNode) -> None:
    script = Path(__file__).with_name("websocket_app.py")
    path = places.sockets(routed.paths, 30001) / "ws.sock"
    routed.start("ws", "/usr/bin/python3", "-I", script, path, 30001)
    eventually(path.is_socket)
    announce(routed, "ws.wild.org", "ws", 30001)
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        "GET /chat HTTP/1.1\r\nHost: ws.wild.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )

    def shake() -> socket.socket | None:
        client = routed.connect()
        client.sendall(request.encode())
        if not (head := client.recv(4096)).startswith(b"HTTP/1.1 101 "):
            client.close()
            return None
        accept = sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        assert base64.b64encode(accept) in head
        return client

    client = eventually(shake, about="a WebSocket answer")
    assert client is not None
    with client:
        for text in (b"hello", b"x" * 100):
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
            client.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
            data = b""
            while len(data) < len(text) + 2:
                data += client.recv(4096)
            assert data == bytes([0x81, len(text)]) + text
    announce(routed, "ws.wild.org", "ws", 30001, leave=True)


def test_an_app_on_its_containers_own_address_is_served(routed: RoutedNode) -> None:
    routed.app("tcp", 30002, address="10.214.0.4:9000")
    announce(routed, "exact.wild.org", "tcp", 30002, address="10.214.0.4:9000")
    everywhere(routed, "exact.wild.org", "tcp")
    announce(routed, "exact.wild.org", "tcp", 30002, address="10.214.0.4:9000", leave=True)
    everywhere(routed, "exact.wild.org", "")


def test_an_app_that_was_killed_is_answered_for_by_the_503_page(routed: RoutedNode) -> None:
    pid = routed.app("short", 30002)
    announce(routed, "exact.wild.org", "short", 30002)
    everywhere(routed, "exact.wild.org", "short")
    routed.kill(pid)
    answers = [ask(routed, "exact.wild.org") for _ in range(12)]
    assert {(a.status, a.app) for a in answers} == {(503, "")}


def test_a_second_app_takes_over_from_a_killed_one_without_a_lost_request(
    routed: RoutedNode,
) -> None:
    pid = routed.app("second", 30001)
    announce(routed, "shop.test.org", "second", 30001)
    eventually(lambda: ask(routed, "shop.test.org").app == "second")
    routed.kill(pid)
    assert {ask(routed, "shop.test.org").app for _ in range(20)} == {"shop"}


def test_while_the_503_page_is_away_the_wildcards_app_does_not_stand_in(
    routed: RoutedNode,
) -> None:
    routed.kill_tree(int((ROOT / "pages-absent.pid").read_text()))
    for _ in range(12):
        answer = ask(routed, "exact.wild.org")
        assert (answer.status, answer.app) in ((0, ""), (503, ""))
    routed.start("pages-absent", routed.uwsgi, "--ini", routed.paths.services / "pages-absent.ini")
    eventually(lambda: all(ask(routed, "exact.wild.org").status == 503 for _ in range(12)))


def test_a_new_router_serves_no_wildcard_before_it_knows_all_names(routed: RoutedNode) -> None:
    routed.kill(int((ROOT / "gate.pid").read_text()))
    routed.kill_tree(routed.router_master())
    routed.start_router()
    subscribe = routed.paths.router / "subscribe.sock"
    eventually(subscribe.is_socket)
    wild = {"key": ".wild.org", "address": str(routed.paths.apps / "30001/sockets/wild.sock")}
    eventually(lambda: _told(subscribe, packet.build(wild)))
    for host in ("exact.wild.org", "x.wild.org"):
        assert {ask(routed, host).app for _ in range(8)} == {""}
    routed.start_gate()
    _all_back(routed, time.monotonic() + 2.0 * BUSY)


def _told(path: Path, data: bytes) -> bool:
    """Speak to the router directly, as only the gate may."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(data, str(path))
        except OSError:
            return False
    return True


def test_a_killed_router_process_comes_back_with_all_routes(
    routed: RoutedNode,
) -> None:
    for victim in routed.router_children():
        started = time.monotonic()
        routed.kill(victim)
        _all_back(routed, started)


def test_a_killed_router_comes_back_with_all_routes(routed: RoutedNode) -> None:
    routed.kill_tree(routed.router_master())
    started = time.monotonic()
    routed.start_router()
    _all_back(routed, started)


def _all_back(routed: RoutedNode, started: float) -> None:
    """Every site answers from its own app, and no request reached another's meanwhile."""
    wanted = {"shop.test.org": "shop", "x.wild.org": "wild", "b.test.org": "b"}
    good = 0
    while good < 12:
        assert time.monotonic() < started + 2.0 * BUSY, "routes are not back"
        answers: dict[str, str] = {}
        for host in [*wanted, "exact.wild.org"]:
            try:
                answer = ask(routed, host)
            except OSError:
                continue
            answers[host] = answer.app
            assert answer.app in ("", wanted.get(host, "")), "another customer's app"
            if host == "exact.wild.org" and good and answer.status != 503:
                answers = {}
        good = good + 1 if all(answers.get(h) == a for h, a in wanted.items()) else 0
        time.sleep(0.01)


def test_answers_on_a_kept_connection_do_not_wait_for_the_client(routed: RoutedNode) -> None:
    """With Nagle's algorithm each would take 40 ms, the client's delayed acknowledgement."""
    seconds = []
    with closing(HTTPConnection("shop.test.org")) as connection:
        connection.sock = routed.connect()
        for _ in range(10):
            started = time.perf_counter()
            connection.request("GET", "/")
            connection.getresponse().read()
            seconds.append(time.perf_counter() - started)
    print(f"an answer on a kept connection: {min(seconds) * 1000:.1f} ms")
    assert min(seconds[1:]) < 0.03
