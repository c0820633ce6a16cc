"""http-app: a server of the customer's own gets every kind of HTTP, and visitors never hang."""

import asyncio
import base64
import http.client
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from tests.patience import BUSY
from tests.system.conftest import HTTP_PORT, HTTPS_PORT, Node, until
from tests.system.visitors import Visitors

pytestmark = pytest.mark.system
SERVER = Path(__file__).with_name("http_server.py")
DOMAIN = "server.example.org"
PORT = 3000
VASSAL = f"""[uwsgi]
http-app = {DOMAIN} {PORT}
chdir = $(HOME)
attach-daemon2 = cmd=exec python3 http_server.py {PORT},stopsignal=15
logto = $(HOME)/logs/server.log
"""
WEBSOCKETS = 200
Answered = tuple[int, bytes]


@pytest.fixture(scope="module")
def uid(node: Node) -> Iterator[int]:
    """A container with the server behind http-app, answering."""
    node.insula("customer", "create", "servers")
    uid = node.container("servers", "servers", "--memory", "512M", "--cpu", "200%")
    node.insula("domain", "add", DOMAIN, "--customer", "servers")
    node.ssh(uid, "cat > http_server.py", stdin=SERVER.read_text())
    node.ssh(uid, "cat > vassals/server.ini", stdin=VASSAL)
    node.answers(DOMAIN, 200, within=30 * BUSY)
    yield uid
    node.insula("container", "destroy", str(uid), "--yes", check=False)


def visitor() -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=20)


Body = bytes | Iterator[bytes] | None
Headers = dict[str, str] | None


def ask_once(
    path: str, *, method: str = "GET", body: Body = None, headers: Headers = None
) -> Answered:
    """The status and body of one request on a connection of its own."""
    with closing(visitor()) as line:
        return ask(line, path, method=method, body=body, headers=headers)


def ask(
    line: http.client.HTTPConnection,
    path: str,
    *,
    method: str = "GET",
    body: Body = None,
    headers: Headers = None,
) -> Answered:
    sent = {"Host": DOMAIN, **(headers or {})}
    # an iterator is a body without a length
    line.request(method, path, body, sent, encode_chunked=isinstance(body, Iterator))
    answer = line.getresponse()
    return answer.status, answer.read()


@pytest.mark.usefixtures("uid")
def test_the_server_learns_the_truth_about_the_visitor() -> None:
    forged = {"X-Forwarded-For": "1.1.1.1", "X-Forwarded-Proto": "gopher"}
    _, body = ask_once("/headers", headers=forged)
    words = [line.lower() for line in body.decode().split("\r\n")]
    assert f"host: {DOMAIN}" in words
    assert "x-forwarded-proto: http" in words
    assert "x-forwarded-for: 127.0.0.1, 127.0.0.1" in words
    assert [word for word in words if word.startswith("connection:")] == ["connection: close"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = http.client.HTTPSConnection("127.0.0.1", HTTPS_PORT, timeout=20, context=context)
    with closing(tls):
        assert b"X-Forwarded-Proto: https" in ask(tls, "/headers")[1]


@pytest.mark.usefixtures("uid")
def test_one_connection_of_a_visitor_serves_many_requests() -> None:
    with closing(visitor()) as line:
        line.connect()
        own = line.sock
        for path, method, status, size in (
            ("/", "GET", 200, 5), ("/nothing", "GET", 204, 0), ("/same", "GET", 304, 0),
            ("/head", "HEAD", 200, 0), ("/big", "GET", 200, 20_000_000), ("/", "GET", 200, 5),
        ):  # fmt: skip
            answer = ask(line, path, method=method)
            assert (answer[0], len(answer[1])) == (status, size), path
            assert line.sock is own, f"{path} ended the visitor's connection"


@pytest.mark.usefixtures("uid")
def test_uploads_pass_with_a_length_and_in_chunks() -> None:
    body = os.urandom(5_000_000)
    told = f"{len(body)} {sha256(body).hexdigest()}".encode()
    assert ask_once("/upload", method="POST", body=body) == (200, told)
    pieces = (body[i : i + 50_000] for i in range(0, len(body), 50_000))
    chunked = {"Transfer-Encoding": "chunked"}
    assert ask_once("/upload", method="POST", body=pieces, headers=chunked) == (200, told)


@pytest.mark.usefixtures("uid")
def test_events_come_when_they_are_sent() -> None:
    with closing(visitor()) as line:
        line.request("GET", "/events", headers={"Host": DOMAIN})
        answer = line.getresponse()
        assert answer.readline() == b"data: 1\n"
        first = time.monotonic()
        assert answer.read() == b"\ndata: 2\n\n"
    assert time.monotonic() - first > 1, "the first event waited for the second"


@pytest.mark.usefixtures("uid")
def test_a_server_that_breaks_off_leaves_no_visitor_waiting() -> None:
    assert ask_once("/die")[0] == 502
    start = time.monotonic()
    with pytest.raises(http.client.IncompleteRead):
        ask_once("/broken")
    assert time.monotonic() - start < 4 * BUSY


@pytest.mark.usefixtures("uid")
def test_idle_websockets_need_no_workers() -> None:
    assert asyncio.run(_websockets(WEBSOCKETS)) == WEBSOCKETS
    assert ask_once("/")[0] == 200


async def _websockets(count: int) -> int:
    """Open so many at once, talk on each, hold all, talk again; how many worked."""
    ready = asyncio.Barrier(count)
    return sum(await asyncio.gather(*(_websocket(ready) for _ in range(count))))


async def _websocket(ready: asyncio.Barrier) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", HTTP_PORT)
    key = base64.b64encode(os.urandom(16)).decode()
    words = ("GET /websocket HTTP/1.1", f"Host: {DOMAIN}", "Upgrade: websocket",
             "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13",
             f"Sec-WebSocket-Key: {key}", "", "")  # fmt: skip
    writer.write("\r\n".join(words).encode())
    async with asyncio.timeout(30 * BUSY):
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        for text in (b"before", b"after"):
            writer.write(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
            if (await reader.readexactly(2 + len(text)))[2:] != text:
                return False
            # nobody goes on before all are open
            await ready.wait()
    writer.close()
    return True


def test_a_reload_ends_and_visitors_wait_for_the_server(node: Node, uid: int) -> None:
    """What docs/languages/node.md says: a short time of 502, then visitors wait; no other error."""

    def server() -> str:
        return node.ssh(uid, "pgrep -f '^python3 http_server.py'", check=False).stdout.strip()

    old = server()
    with Visitors(DOMAIN) as visitors:
        time.sleep(0.5)
        node.ssh(uid, "touch -d '2 seconds' vassals/server.ini")
        until(lambda: server() not in ("", old), 20 * BUSY, "another server")
        until(lambda: ask_once("/")[0] == 200, 20 * BUSY, "the new server answers")
        time.sleep(0.5)
    print(f"\none visitor, one reload: {dict(visitors.statuses)}, {visitors.slowest:.1f} s at most")
    assert set(visitors.statuses) <= {200, 502}, visitors.statuses


def test_a_wrong_line_is_named_in_the_emperors_log(node: Node, uid: int) -> None:
    node.ssh(uid, "cat > vassals/wrong.ini", stdin="[uwsgi]\nhttp-app = x.example.org 80\n")

    def is_named() -> bool:
        return "no app may listen on port 80" in node.ssh(uid, "cat logs/emperor.log").stdout

    until(is_named, 10 * BUSY, "the wrong line is named")
    node.ssh(uid, "rm vassals/wrong.ini")
