"""Load, memory and storage of the machine itself."""

import os
from dataclasses import dataclass
from pathlib import Path

from insula.collector.sources.files import text


@dataclass(frozen=True, slots=True)
class Machine:
    """How the machine stands; bytes, except the load."""

    load1: float
    memory_total: int
    memory_available: int
    pool_size: int
    pool_free: int


def machine(pool: Path, *, proc: str = "/proc") -> Machine:
    """Read it now; a pool that is not there counts as none."""
    memory = dict(
        (name, int(rest.split()[0]) * 1024)
        for name, colon, rest in (
            line.partition(":") for line in text(f"{proc}/meminfo").splitlines()
        )
        if colon and rest.endswith("kB")
    )
    try:
        space = os.statvfs(pool)
        size, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    except OSError:
        size = free = 0
    return Machine(
        load1=float((text(f"{proc}/loadavg") or "0").split()[0]),
        memory_total=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        pool_size=size,
        pool_free=free,
    )
