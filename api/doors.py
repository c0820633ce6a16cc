"""The three doors: told apart by the socket a request came through, never by what it says."""

import os
import socket
import struct
import time
from collections.abc import Callable
from enum import StrEnum

from django.core.handlers.wsgi import LimitedStream, WSGIRequest
from django.http import HttpRequest, HttpResponseBase

from insula.api.bodies import TimelyBody
from insula.api.errors import ApiError, Code
from insula.api.problem import refusal

try:
    import uwsgi  # type: ignore[import-untyped]  # exists inside uWSGI alone
except ImportError:
    uwsgi = None

DOMINATOR_UID = 29992
COLLECTOR_UID = 29993
BODY_LIMIT_BYTES = 64 * 1024
NODE_BODY_LIMIT_BYTES = 16 * 1024 * 1024
# As much as uWSGI lets through (vassals/public.ini); who sends slowly is cut off.
DRAIN_BYTES = 16 * 1024 * 1024
DRAIN_SECONDS = 2.5
_DRAIN_STEP = 64 * 1024
DOOR_KEY = "insula.door"
_NODE_PREFIX = "/api/v1/node/"
_SIGNING_KEYS = "/api/v1/node/signing-keys"

Answer = Callable[[HttpRequest], HttpResponseBase]


class Door(StrEnum):
    OPERATOR = "operator"
    NODE = "node"
    PUBLIC = "public"


_DIRECTORIES = {"api-operator": Door.OPERATOR, "api-node": Door.NODE, "sockets": Door.PUBLIC}
_PEERS = {Door.OPERATOR: {0}, Door.NODE: {0, DOMINATOR_UID, COLLECTOR_UID}}


def door_middleware(answer: Answer) -> Answer:
    """Refuse a request that came through no door, or asks for what its door does not lead to."""

    def through_the_door(request: HttpRequest) -> HttpResponseBase:
        body = None
        try:
            door = _door(request)
            body = _timely_body(request, door)
            _check(request, door)
            request.META[DOOR_KEY] = door
            # Behind a door of the machine's own there is no browser and no TLS to ask for.
            return answer(request)
        except ApiError as error:
            return refusal(request, error)
        finally:
            _drain(request, body)

    return through_the_door


def _timely_body(request: HttpRequest, door: Door) -> TimelyBody | None:
    """Put a time limit on the body of a stranger; None for the machine's own programs."""
    if uwsgi is None or door is not Door.PUBLIC or not isinstance(request, WSGIRequest):
        return None
    body = TimelyBody(request.environ["wsgi.input"], uwsgi.connection_fd())
    length = request.META.get("CONTENT_LENGTH") or "0"
    # Django has no public way to give a request another body.
    request._stream = LimitedStream(body, int(length) if length.isdecimal() else 0)  # type: ignore[assignment,arg-type]  # see above
    return body


def _drain(request: HttpRequest, body: TimelyBody | None) -> None:
    """Take in what was sent and not looked at: the router cannot read an answer while it writes."""
    deadline, left = time.monotonic() + DRAIN_SECONDS, DRAIN_BYTES
    is_chunked = uwsgi is not None and "HTTP_TRANSFER_ENCODING" in request.META
    if body is not None:
        body.hurry(DRAIN_SECONDS)
    try:
        while left > 0 and time.monotonic() < deadline:
            # Django sees no body without a length.
            data = uwsgi.chunked_read(1) if is_chunked else request.read(min(left, _DRAIN_STEP))
            if not data:
                return
            left -= len(data)
    except OSError:
        return


def door_of(request: HttpRequest) -> Door:
    """The door that the middleware found."""
    return Door(request.META[DOOR_KEY])


def _door(request: HttpRequest) -> Door:
    if uwsgi is None:
        # Tests and the development server: HTTP can set no key without a HTTP_ before it.
        name = request.META.get(DOOR_KEY)
    else:
        name = _door_of_connection(uwsgi.connection_fd())
    if name is None:
        raise ApiError(Code.FORBIDDEN, "this request came through no known door")
    return Door(name)


def _door_of_connection(descriptor: int) -> Door | None:
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.family != socket.AF_UNIX:
            return None
        name = connection.getsockname()
        path = name.decode(errors="replace") if isinstance(name, bytes) else name
        door = _DIRECTORIES.get(os.path.basename(os.path.dirname(path)))
        if door in _PEERS:
            size = struct.calcsize("3i")
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            _, uid, _ = struct.unpack("3i", credentials)
            if uid not in _PEERS[door]:
                raise ApiError(Code.FORBIDDEN, f"the {door} door is not for uid {uid}")
    return door


def _check(request: HttpRequest, door: Door) -> None:
    is_node_path = request.path.startswith(_NODE_PREFIX)
    if door is Door.PUBLIC and request.META.get("HTTPS") != "on":
        raise ApiError(Code.HTTPS_ONLY, "the API answers over TLS only", "use https://")
    if is_node_path and (
        door is Door.PUBLIC or (door is Door.NODE and request.path == _SIGNING_KEYS)
    ):
        raise ApiError(Code.NOT_FOUND, "there is nothing at this address")
    if door is Door.NODE and not is_node_path:
        raise ApiError(Code.NOT_FOUND, "the node door leads to the node endpoints only")
    limit = NODE_BODY_LIMIT_BYTES if is_node_path else BODY_LIMIT_BYTES
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > limit:
        raise ApiError(Code.TOO_LARGE, f"the body is larger than {limit} bytes")
