"""The cgroups of a node's own services where no systemd keeps one: to find and end all of them, and
for their share of the processors."""

import os
import signal
import time
from pathlib import Path

from insula.emperor.errors import KernelError
from insula.emperor.kernel import cgroup, shares

ROOT = Path("/sys/fs/cgroup")
_LIMIT_SECONDS = 5.0
Groups = tuple[Path, ...]


def paths_of(name: str, root: Path = ROOT) -> Groups:
    """Where the group lies: in the v2 tree, or in v1's hierarchies of pids and processors.

    Every process of the services is in the first.
    """
    if (root / "cgroup.controllers").exists():
        return (root / f"{name}.services",)
    return tuple((root / item).resolve() / f"{name}.services" for item in ("pids", "cpu"))


def make(groups: Groups) -> None:
    """Have the groups, with the platform's weight. Raises KernelError."""
    for group in groups:
        try:
            if (group.parent / "cgroup.controllers").exists():
                cgroup.hand_down(group.parent)
            group.mkdir(exist_ok=True)
        except OSError as error:
            raise KernelError(f"making the cgroup {group}: {error.strerror}") from error
        shares.weigh(group, shares.PLATFORM)


def reap(groups: Groups) -> int:
    """Kill every process of the groups and wait until they are empty; return how many there were.

    Raises KernelError when one does not die.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + _LIMIT_SECONDS
    while pids := [pid for group in groups for pid in _pids(group)]:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        killed.update(pids)
        if time.monotonic() > deadline:
            raise KernelError(f"processes {pids} of {groups[0]} do not die")
        time.sleep(0.01)
    return len(killed)


def remove(groups: Groups) -> None:
    """Remove the empty groups; a missing one is fine."""
    for group in groups:
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
