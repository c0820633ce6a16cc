"""Runs in the attacker's container: sends forged announcements, prints what the gate answered.

The isolation doctor's attacks (attacks.pyz) lie beside it there.
"""

import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from insula.emperor.isolation.attacks import announcing, signing
from insula.emperor.isolation.attacks.announcing import framed, items

GATE = "/run/subscribe/http"
ANSWERS = "/run/sockets/answers.sock"
OWN_KEY = "/run/keys/signing.pem"
Pairs = dict[str, str]


def packet(
    domain: str,
    address: str,
    *,
    age: int = 0,
    key: str | None = OWN_KEY,
    leave: bool = False,
    changed: tuple[bytes, bytes] = (b"", b""),
) -> bytes:
    """An announcement like uWSGI's own; ``changed`` is replaced after it was signed.

    Without a file of that name, ``key`` is a stranger's.
    """
    body = announcing.Announcement(domain, address, ANSWERS, age=age).body()
    sign = b""
    if key is not None:
        known = os.path.exists(key)
        made = signing.sign(Path(key).read_text(), body) if known else os.urandom(256)
        sign = items({"sign": made})
    return framed(body.replace(*changed) + sign, leave=leave)


class Gate:
    """The container's way to the gate, and where it answers."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if os.path.lexists(ANSWERS):
            os.unlink(ANSWERS)
        self.socket.bind(ANSWERS)
        os.chmod(ANSWERS, 0o666)

    def ask(self, data: bytes, *, seconds: float = 1.5) -> str:
        """Send it; the reason code, ``routed``, or nothing when no answer comes."""
        self._forget_late_answers()
        self.socket.settimeout(seconds)
        self.socket.sendto(data, GATE)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return ""
        return "routed" if text.endswith("is routed") else text.split("refused, ")[1].split(":")[0]

    def _forget_late_answers(self) -> None:
        self.socket.setblocking(False)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            pass


def listen(name: str) -> str:
    """A socket of our own in the sockets directory; nobody accepts on it."""
    path = f"/run/sockets/{name}"
    if os.path.lexists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.detach()
    return path


def tricks() -> Iterator[str]:
    """Names below our sockets directory that lead elsewhere, as far as the kernel lets us."""
    for name, target in (
        ("to-the-gate", GATE),
        ("to-root", "/"),
        ("upwards", "../../../30000/sockets/api.sock"),
    ):
        path = f"/run/sockets/{name}"
        if not os.path.lexists(path):
            os.symlink(target, path)
        yield path
    try:
        os.link(GATE, "/run/sockets/hard")
    except OSError:
        pass  # another mount: the kernel refuses; then there is no such socket
    yield "/run/sockets/hard"
    with open("/run/sockets/plain", "w") as file:
        file.write("not a socket")
    yield "/run/sockets/plain"
    os.makedirs("/run/sockets/folder", exist_ok=True)
    yield "/run/sockets/folder"


def domains(facts: Pairs, own: str) -> Iterator[tuple[str, bytes]]:
    """Announcements of what is not ours."""
    for name in ("victim", "above", "upper", "api", "nobody", "base"):
        yield f"domain {name}", packet(facts[name], own)
    yield "leave victim", packet(facts["victim"], own, leave=True)
    yield "leave their socket", packet(facts["victim"], facts["their socket"], leave=True)
    for name in ("unknown/", f"mapped/{facts['victim']}", "..", "*", f"{facts['victim']}:80"):
        yield f"no domain {name}", packet(name, own)


def addresses(facts: Pairs) -> Iterator[tuple[str, bytes]]:
    """Announcements of our own domain that aim the router at somebody else."""
    for name in ("their ip", "their socket", "their file", "loopback", "gateway", "api ip"):
        yield f"address {name}", packet(facts["own"], facts[name])
    for text in ("", ":80", "/etc/passwd", "/run/sockets/", "/run/sockets/..", "@abstract"):
        yield f"address {text!r}", packet(facts["own"], text)
    for path in tricks():
        yield f"address {path}", packet(facts["own"], path)
    yield "leave their address", packet(facts["own"], facts["their file"], leave=True)


def signatures(facts: Pairs, own: str) -> Iterator[tuple[str, bytes]]:
    """Our own domain and socket, but not rightly signed or dated."""
    yield "sign none", packet(facts["own"], own, key=None)
    yield "sign other key", packet(facts["own"], own, key="stranger")
    yield "sign changed", packet(facts["own"], own, changed=(b"cores\x01\x001", b"cores\x01\x009"))
    yield "past", packet(facts["own"], own, age=60)
    yield "far past", packet(facts["own"], own, age=100_000)
    yield "future", packet(facts["own"], own, age=-60)


def broken(facts: Pairs, own: str) -> Iterator[tuple[str, bytes]]:
    """No whole packets; nobody can be told, so these are seen in the trace alone."""
    whole = packet(facts["own"], own)
    for length in (0, 1, 3, 4, 5, 20, len(whole) // 2, len(whole) - 1):
        yield f"cut {length}", whole[:length]
        if length > 4:
            yield f"cut and framed {length}", framed(whole[4:length])
    yield "twice", framed(items({"key": facts["victim"].encode()}) + whole[4:])
    yield "after the signature", framed(whole[4:] + items({"load": b"1"}))
    yield "too long", framed(whole[4:] + b"\x00" * 4200)


def flood() -> Pairs:
    """10,000 garbage datagrams as fast as the kernel takes them."""
    chosen, taken = random.Random(1), 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for number in range(10_000):
            data = chosen.randbytes(chosen.choice((1, 4, 200, 4000)))
            try:
                sender.sendto(framed(data) if number % 2 else data, GATE)
                taken += 1
            except BlockingIOError:
                time.sleep(0.0002)
    return {"taken": str(taken)}


def replays(gate: Gate, facts: Pairs, own: str) -> Pairs:
    """One true announcement, then the same bytes again; then both ways of leaving again."""
    first = packet(facts["own"], own)
    leave = packet(facts["own"], own, age=-1, leave=True)
    said = {"first": gate.ask(first), "again": gate.ask(first)}
    said |= {"leave": gate.ask(leave, seconds=0.5), "leave again": gate.ask(leave)}
    time.sleep(1.5)
    return said | {"later": gate.ask(packet(facts["own"], own))}


def main() -> None:
    facts: Pairs = json.loads(sys.argv[2])
    if sys.argv[1] == "flood":
        print(json.dumps(flood()))
        return
    gate, own = Gate(), listen("own.sock")
    if sys.argv[1] == "replays":
        print(json.dumps(replays(gate, facts, own)))
        return
    attacks: Callable[[], Iterator[tuple[str, bytes]]] = {
        "domains": lambda: domains(facts, own),
        "addresses": lambda: addresses(facts),
        "signatures": lambda: signatures(facts, own),
        "broken": lambda: broken(facts, own),
    }[sys.argv[1]]
    seconds = 0.05 if sys.argv[1] == "broken" else 1.5
    print(json.dumps({name: gate.ask(data, seconds=seconds) for name, data in attacks()}))


if __name__ == "__main__":
    main()
