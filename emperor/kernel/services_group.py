"""The cgroup of a node's own services where no systemd keeps one: to find and end all of them."""

import os
import signal
import time
from pathlib import Path

from insula.emperor.errors import KernelError

ROOT = Path("/sys/fs/cgroup")
_LIMIT_SECONDS = 5.0


def path_of(name: str, root: Path = ROOT) -> Path:
    """Where the group lies: in the v2 tree, or in v1's pids hierarchy."""
    base = root if (root / "cgroup.controllers").exists() else root / "pids"
    return base / f"{name}.services"


def make(group: Path) -> None:
    """Have the group. Raises KernelError."""
    try:
        group.mkdir(exist_ok=True)
    except OSError as error:
        raise KernelError(f"making the cgroup {group}: {error.strerror}") from error


def reap(group: Path) -> int:
    """Kill every process of the group and wait until it is empty; return how many there were.

    Raises KernelError when one does not die.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + _LIMIT_SECONDS
    while pids := _pids(group):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        killed.update(pids)
        if time.monotonic() > deadline:
            raise KernelError(f"processes {pids} of {group} do not die")
        time.sleep(0.01)
    return len(killed)


def remove(group: Path) -> None:
    """Remove the empty group; a missing one is fine."""
    try:
        group.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise KernelError(f"removing the cgroup {group}: {error.strerror}") from error


def _pids(group: Path) -> list[int]:
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []
