"""HTTP/1.1 with JSON over a UNIX socket: all that a daemon needs to talk to the API."""

import http.client
import json
import socket
from pathlib import Path
from typing import cast

from insula.emperor.errors import FeedError
from insula.emperor.kernel import beneath

ANSWER_LIMIT_BYTES = 64 * 1024 * 1024


class UnixConnection(http.client.HTTPConnection):
    """An HTTPConnection whose transport is a UNIX stream socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # The API's container can put anything in the place of its socket.
        beneath.connect(self.sock, self.path)


def call(
    socket_path: Path,
    method: str,
    url: str,
    body: object = None,
    *,
    timeout: float = 10.0,
) -> object:
    """Send one request and return the decoded JSON answer.

    Raises FeedError when the API cannot be reached, answers too slowly, too much, with another
    status than 2xx or with something that is not JSON.
    """
    connection = UnixConnection(socket_path, timeout)
    try:
        payload = None if body is None else json.dumps(body).encode()
        connection.request(method, url, payload, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read(ANSWER_LIMIT_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise FeedError(f"{method} {url} on {socket_path}: {error!r}") from error
    finally:
        connection.close()
    if len(data) > ANSWER_LIMIT_BYTES:
        raise FeedError(f"{method} {url}: the answer is larger than {ANSWER_LIMIT_BYTES} bytes")
    if not 200 <= answer.status < 300:
        said = _detail(data)
        raise FeedError(f"{method} {url}: the API answered {answer.status} {answer.reason}{said}")
    try:
        return cast(object, json.loads(data)) if data else None
    except (ValueError, RecursionError) as error:
        raise FeedError(f"{method} {url}: the answer is not JSON") from error


def _detail(data: bytes) -> str:
    """The reason in a problem+json answer, empty when there is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    detail = found.get("detail") if isinstance(found, dict) else None
    return f": {detail[:300]}" if isinstance(detail, str) else ""
