"""What the kernel says about processes and memory, and what a bench must say about its machine."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def available_mb() -> float:
    """Memory that the machine could still give, in MB."""
    return _field(Path("/proc/meminfo"), "MemAvailable:") / 1024


def settled_available_mb() -> float:
    """The same, after what was just freed has come back: the best of two seconds."""
    best = 0.0
    for _ in range(10):
        best = max(best, available_mb())
        time.sleep(0.2)
    return best


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(f"{path} has no {name}")


def pss_mb(pids: Iterable[int]) -> float:
    """The processes' share of memory, in MB; one that has ended counts nothing."""
    total = 0
    for pid in pids:
        try:
            total += _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")
        except (OSError, ValueError):
            continue
    return total / 1024


def cpu_us(pids: Iterable[int]) -> float:
    """What the processes' threads have used, in microseconds, exact to the switch."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            try:
                total += int((thread / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1000


def commands() -> dict[int, str]:
    """Every process's command line."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = (
                (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            )
        except OSError:
            continue
        if text:
            found[int(directory.name)] = text
    return found


def with_descendants(pids: Iterable[int]) -> set[int]:
    found: set[int] = set()
    todo = list(pids)
    while todo:
        pid = todo.pop()
        if pid in found:
            continue
        found.add(pid)
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            try:
                todo += [int(word) for word in (thread / "children").read_text().split()]
            except OSError:
                continue
    return found


def mentioning(mark: str) -> set[int]:
    """The processes whose command line holds a mark, and all below them; never this one."""
    mine = {os.getpid(), os.getppid()}
    found = {pid for pid, command in commands().items() if mark in command} - mine
    return with_descendants(found) - mine


def until(found: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask every millisecond; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not found():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.001)


def description() -> dict[str, object]:
    """Kernel, processor, memory, load and commit: a figure without them says nothing."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    checkout = Path(__file__).parents[1]
    git = subprocess.run(
        ["git", "-C", str(checkout), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "commit": git.stdout.strip(),
        "kernel": platform.release(),
        "system": _pretty_name(),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": round(_field(Path("/proc/meminfo"), "MemTotal:") / 1024),
        "load_before": os.getloadavg()[0],
        "cgroup": "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1",
        "systemd": Path("/run/systemd/system").is_dir(),
    }


def _pretty_name() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()
