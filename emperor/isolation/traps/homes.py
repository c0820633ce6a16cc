"""Links in a home that its container's boot, its log's reader and its deletion would follow."""

import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from insula.emperor import removed
from insula.emperor.daemon import trace
from insula.emperor.isolation.arena import ATTACKER, Arena, Party, program
from insula.emperor.isolation.attacks.contract import Held
from insula.emperor.isolation.traps import inside
from insula.emperor.isolation.traps.contract import trap

_LOG = "logs/emperor.log"
_SECONDS = 20.0
# The log is opened at once after this step of a boot.
_BEFORE_LOG, _MOMENT_SECONDS = "privileges-dropped", 0.5


@trap
def link_logs(made: Arena) -> str:
    """The container's log as a link to root's file: while it boots, and for `insula logs`."""
    machine = made.targets.machine
    canary = Path(machine.canary)
    before = canary.read_bytes()
    theirs = f"{made.targets.neighbour.outside}/home/secret.txt"
    try:
        for target in (machine.canary, f"/.old_root{machine.canary}", theirs):
            made.ssh(made.attacker, f"ln -sfn {target} {_LOG}")
            said = _logs(made)
            if machine.secret in said or made.targets.neighbour.secret in said:
                return f"insula logs read {target} for the operator"
    finally:
        made.ssh(made.attacker, f"rm -f {_LOG}; touch {_LOG}")
    # A container that cannot write its log does not boot: this one is only there for that.
    with _throw_away(made) as party:
        for command in (f"ln -sfn {machine.canary} {_LOG}", "rm -r logs; ln -s / logs"):
            if made.ssh(party, command).returncode != 0:
                break  # it does not run any more
            _boot_again(made, party)
            if canary.read_bytes() != before:
                return "the boot wrote into root's file"
    raise Held("the log is read and written inside, by the container's own rights")


@trap
def link_home_folders(made: Arena) -> str:
    """A container full of links, deep and closed directories and odd names is destroyed."""
    with _canary_folder(made) as canary, _throw_away(made) as party:
        inside.python(made, party, _FILL.format(target=canary, home=party.home), timeout=90)
        _destroy(made, party)
        left = _left_by(made, party)
        removed.purge(made.node, left)
        kept = canary / "kept"
        if not kept.exists() or kept.stat().st_mode & 0o777 != 0o600:
            return f"root went through a link in a home and took {kept}"
        if not left or _left_by(made, party):
            raise ValueError("what the container left is still there")
    raise Held("all of it is gone, and nothing outside")


_FILL = r"""
import shutil
for name in ("vassals", "logs", ".ssh"):
    shutil.rmtree(name, ignore_errors=True)
    os.symlink("{target}", name)
for place in ("{home}", "/tmp"):
    os.chdir(place)
    os.symlink("{target}", "link")
    os.symlink("{target}/kept", "-rf")
    os.symlink("/proc/1/root{target}", "up")
    os.mkfifo("pipe")
    for name in (b"a\nb", b"\xff\xfe", b"*", b" ", b"\x1b[2J", b"a" * 255, b"%(home)"):
        os.mkdir(name)
        os.symlink("{target}", name + b"/l" if len(name) < 250 else name + b"/" + b"l" * 250)
    os.mkdir("closed")
    os.symlink("{target}", "closed/link")
    os.chmod("closed", 0)
    for depth in range(1500):
        os.mkdir("deep")
        os.chdir("deep")
    os.symlink("{target}", "link")
"""


@contextlib.contextmanager
def _canary_folder(made: Arena) -> Iterator[Path]:
    """A folder of root's with one file."""
    place = made.node.paths.run / "isolation" / "keys" / "folder"
    place.mkdir(mode=0o755)
    kept = place / "kept"
    kept.touch(mode=0o600)
    try:
        yield place
    finally:
        kept.unlink(missing_ok=True)
        place.rmdir()


@contextlib.contextmanager
def _throw_away(made: Arena) -> Iterator[Party]:
    """One more container of the attacker's, with the same key; nothing of it stays."""
    known = made.call("GET", f"/api/v1/containers/{made.attacker.uid}")
    taken = ("memory_bytes", "storage_bytes", "pids_max", "cpu_percent", "ssh_keys")
    wanted = {name: known[name] for name in taken}
    wanted |= {"customer": ATTACKER, "name": f"{ATTACKER}-{secrets.token_hex(3)}"}
    party = Party(ATTACKER, int(made.call("POST", "/api/v1/containers", wanted)["uid"]))
    try:
        inside.wait("it lets us in", lambda: made.ssh(party, "test -d vassals").returncode == 0)
        made.put(party, "attacks.pyz", program())
        yield party
    finally:
        _destroy(made, party)
        removed.purge(made.node, _left_by(made, party))


def _destroy(made: Arena, party: Party) -> None:
    """Destroy a container, once, and wait until the node has set aside what it left."""
    place = f"/api/v1/containers/{party.uid}"
    if made.call("GET", place)["state"] == "running":
        made.call("DELETE", place)
        inside.wait("it is set aside", lambda: bool(_left_by(made, party)))


def _left_by(made: Arena, party: Party) -> list[str]:
    return [item.name for item in removed.listed(made.node) if item.uid == party.uid]


def _boot_again(made: Arena, party: Party) -> None:
    """Reboot a container; returns when it has opened its log, or tried to."""
    begin = time.time()
    made.call("POST", f"/api/v1/containers/{party.uid}/reboot")

    def has_tried() -> bool:
        events = trace.read(made.node.paths, party.uid)
        return any(item.step == _BEFORE_LOG and item.at > begin for item in events)

    inside.wait("the container boots", has_tried)
    time.sleep(_MOMENT_SECONDS)


def reboot(made: Arena) -> None:
    """Let the API reboot the attacker's container; returns when its customer can log in again."""
    place = f"/api/v1/containers/{made.attacker.uid}"
    generation = int(made.call("POST", f"{place}/reboot")["generation"])

    def is_up() -> bool:
        found: dict[str, Any] = made.call("GET", place)["applied"] or {}
        if int(found.get("generation", 0)) < generation or not found.get("running_since"):
            return False
        return made.ssh(made.attacker, "true").returncode == 0

    inside.wait("the container has rebooted", is_up)


def _logs(made: Arena) -> str:
    """What `insula logs` shows the operator; a pipe in the log's place may hold it up."""
    program = made.node.paths.venv / "bin/insula"
    words = [str(program), "--root", str(made.node.paths.root), "logs", str(made.attacker.uid)]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
    )
    return (done.stdout + done.stderr).decode(errors="replace")
