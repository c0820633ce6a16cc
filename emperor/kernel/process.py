"""Processes as /proc shows them: a container's first one, how old one is, the children of one."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
# proc(5): the kernel counts start times in it
CLOCK = time.CLOCK_BOOTTIME


def first_of(pids: Iterable[int], proc: Path = PROC) -> int | None:
    """The process that is number 1 of its own pid namespace, below ours; None when none lives."""
    for pid in sorted(pids):
        try:
            status = (proc / str(pid) / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        numbers = _field(status, "NSpid")
        # A zombie has already lost its namespaces: nobody can enter there.
        alive = not _field(status, "State")[:1] == ["Z"]
        if alive and len(numbers) > 1 and numbers[-1] == "1":
            return pid
    return None


class Children:
    """The children of a process, asked for again and again."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._parents: dict[str, str] = {}

    def of(self, pid: int) -> tuple[int, ...]:
        """Sorted; raises OSError when there is no such process."""
        task = self._proc / str(pid) / "task" / str(pid)
        try:
            listed = (task / "children").read_text().split()
        except FileNotFoundError:
            # A kernel without CONFIG_PROC_CHILDREN keeps no list; Debian's and Ubuntu's do.
            task.stat()
            listed = self._search(str(pid))
        return tuple(sorted(int(word) for word in listed))

    def _search(self, parent: str) -> list[str]:
        """Look at each process once: its parent changes only when that one ends."""
        there = {name for name in os.listdir(self._proc) if name.isdecimal()}
        for gone in self._parents.keys() - there:
            del self._parents[gone]
        for pid in there - self._parents.keys():
            # proc(5): the name may hold anything; the 2nd field after its bracket is the parent
            with suppress(OSError):
                stat = (self._proc / pid / "stat").read_text(errors="replace")
                self._parents[pid] = stat.rpartition(")")[2].split()[1]
        return [pid for pid, found in self._parents.items() if found == parent]


def started_at(pid: int, proc: Path = PROC) -> float:
    """The start of a process in seconds of CLOCK, which nobody can set; 0 when it is gone."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # proc(5): the name in parentheses may hold anything; start time is the 20th field after it.
    ticks = int(stat.rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def running_since(pid: int, proc: Path = PROC) -> float:
    """The start of a process in unix seconds; 0 when it is gone."""
    started = started_at(pid, proc)
    return unix_of(started) if started else 0.0


def unix_of(moment: float) -> float:
    """A moment of CLOCK in unix seconds, by the machine's clock of now."""
    return time.time() - time.clock_gettime(CLOCK) + moment


def _field(status: str, name: str) -> list[str]:
    start = status.find(f"\n{name}:")
    if start < 0:
        return []
    return status[start + len(name) + 2 :].split("\n", 1)[0].split()
