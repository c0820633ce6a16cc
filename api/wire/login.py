"""Who asks: Basic or the hexadecimal headers, verified once by Argon2 and then known by heart.

Clients send the password with every call, and Argon2 is slow on purpose. What was verified is
remembered under a keyed digest, in this process alone, together with the stored hash: a new
password, or a locked user, counts at once.
"""

import base64
import binascii
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth.hashers import check_password, make_password
from django.http import HttpRequest

from insula.api.errors import ApiError, Code
from insula.api.models import User
from insula.api.wire.throttle import Throttle

FRESH_SECONDS = 300.0
MAXIMUM_REMEMBERED = 4096
# 19 MiB each, and two processors at most are ours.
_verifying = threading.BoundedSemaphore(2)
_VERIFYING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Credentials:
    name: str
    password: str


@dataclass(frozen=True, slots=True)
class _Verified:
    stored: str
    at: float


class Logins:
    """Remembers whose password was right, and slows down those whose was not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.key = secrets.token_bytes(32)
        self.known: OrderedDict[bytes, _Verified] = OrderedDict()
        self.lock = threading.Lock()
        self.throttle = Throttle(clock)

    def user_of(self, given: Credentials, address: str) -> User | None:
        """The active user whose password this is. Raises ApiError: throttled, busy."""
        row = User.objects.select_related("customer").filter(name=given.name[:64]).first()
        digest = self._digest(given)
        with self.lock:
            known = self.known.get(digest)
        is_same = row is not None and known is not None and known.stored == row.password
        if known is not None and is_same and self.clock() - known.at < FRESH_SECONDS:
            return row if row is not None and row.is_active else None
        # Who was right lately may be so again, whatever a neighbour behind the same address does.
        if not is_same and not self.throttle.take(address):
            raise ApiError(
                Code.THROTTLED, "too many wrong passwords came from this address", "wait a minute"
            )
        if not self._verify(row, given.password) or row is None:
            return None
        if not is_same:
            self.throttle.give_back(address)
        self._remember(digest, row.password)
        return row if row.is_active else None

    def _digest(self, given: Credentials) -> bytes:
        name, password = given.name.encode(), given.password.encode()
        return hmac.digest(self.key, len(name).to_bytes(4, "big") + name + password, "sha256")

    def _verify(self, row: User | None, password: str) -> bool:
        if not _verifying.acquire(timeout=_VERIFYING_SECONDS):
            raise ApiError(Code.BUSY, "too many logins at once", "ask again")
        try:
            if row is None:
                # As long as for a user that exists: the time must not tell who does.
                make_password(password)
                return False
            return check_password(password, row.password)
        finally:
            _verifying.release()

    def _remember(self, digest: bytes, stored: str) -> None:
        with self.lock:
            self.known.pop(digest, None)
            self.known[digest] = _Verified(stored, self.clock())
            if len(self.known) > MAXIMUM_REMEMBERED:
                self.known.popitem(last=False)


LOGINS = Logins()


def user_of(request: HttpRequest) -> User | None:
    """The user of a request; None without credentials, or with wrong ones. Raises ApiError."""
    given = credentials_of(request)
    if given is not None and "\0" in given.name:
        return None
    # What a client without a login sends: no guess, so no work and no mark against its address.
    if given == Credentials("None", "None"):
        return None
    return None if given is None else LOGINS.user_of(given, request.META.get("REMOTE_ADDR", ""))


def credentials_of(request: HttpRequest) -> Credentials | None:
    """Basic if there is any Authorization at all, else the two hexadecimal headers."""
    if "Authorization" in request.headers:
        return _basic(request.headers["Authorization"])
    name = request.headers.get("X-uwsgi-it-username")
    password = request.headers.get("X-uwsgi-it-password")
    if name is None or password is None:
        return None
    try:
        return Credentials(bytes.fromhex(name).decode(), bytes.fromhex(password).decode())
    except ValueError:
        return None


def has_credentials(request: HttpRequest) -> bool:
    return "Authorization" in request.headers or (
        "X-uwsgi-it-username" in request.headers and "X-uwsgi-it-password" in request.headers
    )


def _basic(header: str) -> Credentials | None:
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(text.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    name, colon, password = decoded.partition(":")
    return Credentials(name, password) if colon else None
