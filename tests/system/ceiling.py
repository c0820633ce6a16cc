"""A whole node below a ceiling of the tests' own, as if the machine had no more than that.

Groups of cgroup v1 are shown, in a mount namespace of the tests' own, as the roots of their
hierarchies: node and containers lie below them without knowing, and the machine's mounts stay as
they are. What the tests themselves run stays outside.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.conftest import CHECKOUT, LANE, Node

ROOT = Path(f"/tmp/insula-full-{LANE}")
PORTS = (18280 + LANE, 18643 + LANE, 12422 + LANE)
OPTIONS = (
    f"--http-port={PORTS[0]}", f"--https-port={PORTS[1]}", f"--ssh-port={PORTS[2]}",
    f"--network=10.{190 + LANE}.0.0/16", "--base-domain=full.test", "--json", "--minimal",
)  # fmt: skip
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids")
NAME = f"insula-soak-{LANE}"
_CLONE_NEWNS = 0x20000
_LIBC = ctypes.CDLL(None, use_errno=True)


class FullNode(Node):
    """The node below the ceiling, which listens on ports of its own."""

    @property
    def http_port(self) -> int:
        return PORTS[0]

    @property
    def ssh_port(self) -> int:
        return PORTS[2]


def is_possible() -> bool:
    """True where the machine has these controllers in cgroup v1."""
    return all((CGROUPS / item / "cgroup.procs").exists() for item in CONTROLLERS)


@contextmanager
def below() -> Iterator[None]:
    """This process sees the groups as roots while the block runs; all in them ends with it."""
    remove()
    outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    for item in CONTROLLERS:
        (CGROUPS / item / NAME).mkdir()
    _call("unshare", _CLONE_NEWNS)
    try:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        for item in CONTROLLERS:
            place = CGROUPS / item
            subprocess.run(["mount", "--bind", place / NAME, place], check=True)
        yield
    finally:
        _call("setns", outside, _CLONE_NEWNS)
        os.close(outside)
        os.chdir(CHECKOUT)
        remove()


def _call(name: str, *words: int) -> None:
    if getattr(_LIBC, name)(*words) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def up() -> subprocess.CompletedProcess[str]:
    """bin/up, itself below the ceiling."""
    join = "".join(f"echo $$ > {CGROUPS / item}/cgroup.procs; " for item in CONTROLLERS)
    program = str(CHECKOUT / "bin/up")
    words = ["sh", "-c", f'{join} exec "$@"', "sh", program, "--root", str(ROOT), *OPTIONS]
    return subprocess.run(words, capture_output=True, text=True, timeout=900)


def down() -> None:
    program = ROOT / "var/lib/insula/venv/bin/insula"
    if program.exists():
        words = [str(program), "--root", str(ROOT), "node", "down", "--purge", "--yes"]
        subprocess.run(words, check=False, capture_output=True, timeout=300)


def remove() -> None:
    """Take away what a killed run left: processes, groups, files; seen from outside."""
    for item in CONTROLLERS:
        top = CGROUPS / item / NAME
        deadline = time.monotonic() + 20
        while (left := _pids(top)) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for place, _, _ in os.walk(top, topdown=False):
            os.rmdir(place)
    # With its last process the namespace went, and every mount of the node with it.
    if not any(f" {ROOT}" in line for line in Path("/proc/mounts").read_text().splitlines()):
        shutil.rmtree(ROOT, ignore_errors=True)


def _pids(top: Path) -> list[int]:
    found: list[int] = []
    for place, _, _ in os.walk(top):
        with contextlib.suppress(FileNotFoundError):
            found += map(int, (Path(place) / "cgroup.procs").read_text().split())
    return found


def number(controller: str, name: str, word: str = "") -> int:
    """A number of the ceiling's; ``word`` names its line where the file has several."""
    return _number(CGROUPS / controller / name, word)


def oom_kills() -> int:
    """How many processes below the ceiling the kernel has killed for want of memory.

    cgroup v1 counts each in its own group alone.
    """
    places = [Path(place) for place, _, _ in os.walk(CGROUPS / "memory")]
    return sum(_number(place / "memory.oom_control", "oom_kill ") for place in places)


def _number(file: Path, word: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(word):
            return int(line.split()[-1])
    raise AssertionError(f"{file} has no {word}")


@contextmanager
def lowered(controller: str, name: str, value: int) -> Iterator[None]:
    """The ceiling is there while the block runs; then what was before."""
    file = CGROUPS / controller / name
    before = file.read_text().strip()
    file.write_text(str(value))
    try:
        yield
    finally:
        file.write_text("-1" if controller == "memory" else before)
