"""The way into a container: which process it goes by, and at which moment."""

import subprocess
import threading
from collections import Counter

from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks.contract import Held
from insula.emperor.isolation.traps import inside
from insula.emperor.isolation.traps.contract import trap
from insula.emperor.isolation.traps.homes import reboot

_REBOOTS, _VISITORS = 3, 2
_MARK = "/tmp/isolation-decoy"


@trap
def look_like_first_process(made: Arena) -> str:
    """A process with the first one's title, and where it can with a pid 1 and mounts of its own."""
    said = inside.python(made, made.attacker, _DECOY.format(mark=_MARK, uid=made.attacker.uid))
    try:
        ways = {
            "ssh": [*made.ssh_words(made.attacker.uid), f"cat {_MARK}"],
            "insula enter": [
                str(made.node.paths.venv / "bin/insula"), "--root", str(made.node.paths.root),
                "enter", str(made.attacker.uid), "--", "cat", _MARK,
            ],
        }  # fmt: skip
        for name, words in ways.items():
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
            )
            if b"decoy" in done.stdout:
                return f"{name} led into a root that the customer had made"
    finally:
        made.ssh(made.attacker, "kill -9 $(cat decoy.pids); rm -f decoy.pids")
    raise Held(f"both doors led to the first process; the decoy: {said.strip()}")


_DECOY = """
from insula.emperor.isolation.attacks.decoy import stand
print(stand({uid}, "{mark}"))
"""


@trap
def log_in_while_booting(made: Arena) -> str:
    """Log in all the time while it reboots: inside or nowhere, never on the machine."""
    hostname = made.call("GET", f"/api/v1/containers/{made.attacker.uid}")["hostname"]
    right = f"{hostname} /containers/{made.attacker.uid}"
    seen: Counter[str] = Counter()
    is_over = threading.Event()
    visitors = [
        threading.Thread(target=_visit, args=(made, seen, is_over)) for _ in range(_VISITORS)
    ]
    for visitor in visitors:
        visitor.start()
    try:
        for _ in range(_REBOOTS):
            reboot(made)
    finally:
        is_over.set()
        for visitor in visitors:
            visitor.join()
    for place in seen:
        if place not in ("", right):
            return f"a login led to {place}"
    if not seen[right]:
        raise ValueError("no login came through at all")
    raise Held(f"{seen[right]} logins led inside, {seen['']} were refused")


# What refuses a login may also print, to whoever logs in.
_LANDED = "landed: "
_WHERE = f"echo '{_LANDED}'$(cat /proc/sys/kernel/hostname) $(echo /containers/*)"


def _visit(made: Arena, seen: Counter[str], is_over: threading.Event) -> None:
    while not is_over.is_set():
        done = made.ssh(made.attacker, _WHERE)
        said = done.stdout.decode(errors="replace").splitlines()
        places = [line.removeprefix(_LANDED) for line in said if line.startswith(_LANDED)]
        seen[places[0] if places else ""] += 1
