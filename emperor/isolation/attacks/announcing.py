"""Forged announcements, sent the way that every app has: through the container's gate.

Each is got through when the gate answers that it is routed. A gate that says nothing at all has not
refused, so the attack fails instead of being held.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import signing
from insula.emperor.isolation.attacks.contract import Held, Targets, any_of, attack

GATE = "/run/subscribe/http"
SOCKETS = "/run/sockets"
KEY = "/run/keys/signing.pem"
ANSWER_SECONDS = 5.0
# Nobody answers what cannot be read; the true announcement after it is waited for.
_UNREADABLE_SECONDS = 1.0
_LIMIT_BYTES = 4096


class Silent(Exception):
    """The gate gave no answer, so nobody knows what it did."""


@dataclass(frozen=True)
class Announcement:
    """What an app says of itself; ``leave`` takes it back, ``age`` dates it into the past."""

    domain: str
    address: str
    notify: str = ""
    leave: bool = False
    age: int = 0

    def body(self) -> bytes:
        """The part that is signed."""
        pairs = {"key": self.domain, "address": self.address, "modifier1": "0", "modifier2": "0"}
        pairs |= {"cores": "1", "load": "0", "weight": "1", "notify": self.notify}
        # uWSGI dates a leave one second ahead, so that it differs from what it takes back
        pairs["unix"] = str(int(time.time()) - self.age + int(self.leave))
        return items({name: value.encode() for name, value in pairs.items()})

    def packet(self, sign: "Callable[[bytes], bytes] | None" = None) -> bytes:
        """The whole datagram, signed with the container's own key unless ``sign`` does it."""
        body = self.body()
        signature = sign(body) if sign else signing.sign(Path(KEY).read_text(), body)
        return framed(body + items({"sign": signature}), leave=self.leave)


def items(pairs: dict[str, bytes]) -> bytes:
    """uWSGI's form: each name and value behind its length."""
    return b"".join(
        len(part).to_bytes(2, "little") + part
        for name, value in pairs.items()
        for part in (name.encode(), value)
    )


def framed(body: bytes, *, leave: bool = False) -> bytes:
    """The header in front: kind 224, length, command."""
    return b"\xe0" + len(body).to_bytes(2, "little") + bytes([leave]) + body


class Announcer:
    """An app's two sockets: one that it announces, one where the gate answers."""

    def __init__(self) -> None:
        self.own = f"{SOCKETS}/forged-{os.getpid()}.sock"
        self.notify = f"{SOCKETS}/answers-{os.getpid()}.sock"
        self._app = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._answers = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> "Announcer":
        self.close()
        self._app.bind(self.own)
        self._answers.bind(self.notify)
        # the gate is another uid
        os.chmod(self.notify, 0o666)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the names away."""
        for path in (self.own, self.notify):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def send(self, packet: bytes) -> None:
        """Send it. Raises OSError while the gate takes no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(ANSWER_SECONDS)
            sender.sendto(packet, GATE)

    def ask(self, packet: bytes, *, seconds: float = ANSWER_SECONDS) -> str:
        """Send it and say that it is routed. Raises Held with the gate's refusal, or Silent."""
        self._forget()
        self.send(packet)
        self._answers.settimeout(seconds)
        try:
            text = self._answers.recv(_LIMIT_BYTES).decode()
        except TimeoutError:
            raise Silent(f"the gate said nothing for {seconds:.0f} s") from None
        if "refused" in text:
            raise Held(text.partition("refused, ")[2].partition(":")[0])
        return text

    def claim(self, domain: str, address: str = "") -> str:
        """Announce, and take back at once what was routed."""
        wanted = Announcement(domain, address or self.own, self.notify)
        said = self.ask(wanted.packet())
        self.send(Announcement(domain, address or self.own, self.notify, leave=True).packet())
        return f"{domain} at {address or 'our socket'}: {said}"

    def _forget(self) -> None:
        """Answers that came too late for the question before."""
        self._answers.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self._answers.recv(_LIMIT_BYTES):
                pass


@attack
def claim_neighbours_domain(targets: Targets) -> str:
    """Its name in every spelling, a name below it, and what lies above: the platform's own."""
    theirs = targets.neighbour.domain
    base = theirs.partition(".")[2]
    names = [theirs, theirs.upper(), f"{theirs}.", f"www.{theirs}", f".{theirs}", f".{base}"]
    with Announcer() as app:
        return any_of([partial(app.claim, name) for name in [*names, f"api.{base}"]])


@attack
def claim_special_name(targets: Targets) -> str:
    """The router's table has keys that are no hosts: the pages for unknown and absent ones."""
    theirs = targets.neighbour.domain
    names = ["unknown/", f"mapped/{theirs}", "*", "..", "../..", f"{theirs}:80", f"{theirs}/", "-"]
    names += ["localhost", "127.0.0.1", targets.machine.gateway, f"{theirs}%0a", "." * 200]
    with Announcer() as app:
        return any_of([partial(app.claim, name) for name in names])


@attack
def announce_unsigned(targets: Targets) -> str:
    """Without a signature, with an empty one, with a stranger's, with one of other words."""
    with Announcer() as app:
        wanted = Announcement(targets.own.domain, app.own, app.notify)
        body = wanted.body()
        true = wanted.packet()
        other = Announcement(targets.own.domain, app.own, app.notify, age=1)
        forged = [
            framed(body),
            wanted.packet(lambda _: b""),
            wanted.packet(lambda _: os.urandom(256)),
            wanted.packet(lambda _: signing.sign(Path(KEY).read_text(), other.body())),
            true.replace(b"weight\x01\x001", b"weight\x01\x009"),
        ]
        return any_of([partial(_once, app, wanted, packet) for packet in forged])


@attack
def announce_twofold(targets: Targets) -> str:
    """Words said twice, and words behind the signature: one is checked, the other believed."""
    with Announcer() as app:
        wanted = Announcement(targets.own.domain, app.own, app.notify)
        body, theirs = wanted.body(), items({"key": targets.neighbour.domain.encode()})
        key = Path(KEY).read_text()
        signed = items({"sign": signing.sign(key, body)})
        doubled = framed(body + signed + items({"weight": b"9"}))
        forged = [framed(body + signed + theirs), framed(theirs + body + signed), doubled]
        forged.append(framed(theirs + body + items({"sign": signing.sign(key, theirs + body)})))
        try:
            return any_of([partial(_unheard, app, wanted, packet) for packet in forged])
        except Held:
            # a gate that is deaf has not refused
            app.claim(targets.own.domain)
            raise


@attack
def announce_again(targets: Targets) -> str:
    """What was heard once, sent once more when it is taken back; what is old; what is to come."""
    domain = targets.own.domain
    with Announcer() as app:
        first = Announcement(domain, app.own, app.notify)
        true, gone = first.packet(), Announcement(domain, app.own, app.notify, leave=True)
        app.ask(true)
        app.send(gone.packet())
        # the gate has handled the leave as soon as it answers what came after it
        aged = [Announcement(domain, app.own, app.notify, age=age) for age in (60, 86_400, -60)]
        tries = [partial(_once, app, first, item.packet()) for item in aged]
        return any_of([*tries, partial(_once, app, first, true)])


@attack
def announce_neighbours_socket(targets: Targets) -> str:
    """Our own domain, answered by somebody else: a neighbour, the machine, the API."""
    near, machine = targets.neighbour, targets.machine
    addresses = [f"{near.ip}:{near.port}", f"{near.outside}/sockets/site.sock"]
    addresses += [f"{SOCKETS}/../../{near.uid}/sockets/site.sock", f"{SOCKETS}/.."]
    addresses += [f"127.0.0.1:{port}" for port in machine.ports[:1]]
    addresses += [f"{machine.gateway}:{port}" for port in machine.ports[:1]]
    addresses += [f"{machine.root}/run/insula/api-operator/api.sock", ":80", "@abstract", GATE]
    with Announcer() as app, _tricks() as paths:
        tries = [partial(app.claim, targets.own.domain, item) for item in [*addresses, *paths]]
        return any_of(tries)


@contextlib.contextmanager
def _tricks() -> Iterator[list[str]]:
    """Names below our own sockets that are none: links, a file, a directory."""
    made = []
    for name, target in (("gate", GATE), ("top", "/"), ("up", "../../../30000/sockets/api.sock")):
        path = f"{SOCKETS}/{name}-{os.getpid()}"
        os.symlink(target, path)
        made.append(path)
    plain = f"{SOCKETS}/plain-{os.getpid()}"
    Path(plain).touch()
    try:
        yield [*made, plain]
    finally:
        for path in (*made, plain):
            os.unlink(path)


def _once(app: Announcer, what: Announcement, packet: bytes) -> str:
    """Ask, and take back what was routed."""
    said = app.ask(packet)
    app.send(Announcement(what.domain, what.address, what.notify, leave=True).packet())
    return said


def _unheard(app: Announcer, what: Announcement, packet: bytes) -> str:
    """Like ``_once``, for a packet that the gate cannot read: then there is nobody to be told."""
    try:
        said = app.ask(packet, seconds=_UNREADABLE_SECONDS)
    except Silent:
        raise Held("it is not read as an announcement") from None
    app.send(Announcement(what.domain, what.address, what.notify, leave=True).packet())
    return said
