"""A vassal file that asks uWSGI for root's doings, and for the files of others."""

import contextlib
import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks.contract import Absent, Held, Targets, any_of, attack

_SECONDS = 5.0


@attack
def run_vassal_as_root(targets: Targets) -> str:
    """Each hook that runs commands, each way to another uid, each way to take in a file."""
    program = _program(targets)
    machine, near = targets.machine, targets.neighbour
    theirs = f"{near.outside}/home/secret.txt"
    tries = []
    for path, secret in ((machine.canary, machine.secret), (theirs, near.secret)):
        tries += [partial(_try, program, lines, path, secret) for lines in _WAYS]
    return any_of(tries)


# FILE is what would be read, OUT where its text would appear
_WAYS = (
    "exec-asap = cat FILE > OUT",
    "hook-asap = exec:cat FILE > OUT",
    "uid = 0\ngid = 0\nexec-as-user = cat FILE > OUT",
    "exec-as-root = cat FILE > OUT\nhook-as-root = exec:cat FILE > OUT",
    "cap = sys_admin,dac_override\nexec-asap = cat FILE > OUT",
    "hook-asap = mount:none / /tmp bind\nexec-asap = cat FILE > OUT",
    "ini = FILE\ninherit = FILE\nshow-config = true",
    "for-readline = FILE\nset-placeholder = taken=%(_)\nendfor =\nexec-asap = echo %(taken) > OUT",
    "set-placeholder = taken=@(FILE)\nexec-asap = echo %(taken) > OUT",
    "ini = exec://cat FILE > OUT",
)


def _program(targets: Targets) -> str:
    """The distro's uWSGI; with the machine's files in sight, the node's."""
    own = ("/usr/bin/uwsgi", f"{targets.machine.root.rstrip('/')}/var/lib/insula/uwsgi/uwsgi")
    for path in own:
        if os.access(path, os.X_OK):
            return path
    raise Absent("this distro has no uWSGI")


def _try(program: str, lines: str, path: str, secret: str) -> str:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        out, vassal = Path(place) / "out", Path(place) / "vassal.ini"
        vassal.write_text(f"[uwsgi]\n{lines.replace('FILE', path).replace('OUT', str(out))}\n")
        said = b""
        with contextlib.suppress(subprocess.TimeoutExpired):
            # no socket: it ends by itself when it has read everything
            done = subprocess.run(
                [program, "--ini", str(vassal)], cwd=place, stdin=subprocess.DEVNULL,
                capture_output=True, timeout=_SECONDS, check=False,
            )  # fmt: skip
            said = done.stdout + done.stderr
        said += out.read_bytes() if out.exists() else b""
    if secret.encode() in said:
        return f"uWSGI gave out {path} by: {lines.splitlines()[0]}"
    reasons = [line for line in said.decode(errors="replace").splitlines() if path in line]
    raise Held(reasons[-1].strip()[:120] if reasons else f"{lines.splitlines()[0]}: nothing")
