"""CPU, memory, processes and block I/O of one container, from its cgroups (v2 and v1)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from insula.collector.sources.files import field, number, text
from insula.vassals import identity

NANOSECONDS = 1_000_000_000
MICROSECONDS = 1_000_000
# v1 shows "no limit" as the largest multiple of a page below 2^63.
UNLIMITED = 1 << 62
V1_TESTS = {
    "memory": "memory.usage_in_bytes",
    "cpuacct": "cpuacct.usage",
    "pids": "pids.current",
    "blkio": "blkio.throttle.io_service_bytes",
}


@dataclass(frozen=True, slots=True)
class Group:
    """Where a container's figures lie: one directory on v2, one a controller on v1."""

    uid: int
    customer: str
    v2: str
    v1: dict[str, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the cgroups say; None where this machine has no such figure."""

    is_up: bool
    cpu_seconds: float | None
    working_set_bytes: int | None
    memory_limit_bytes: int | None
    oom_kills: int | None
    pids: int | None
    io_bytes: tuple[int, int] | None  # read, write
    io_operations: tuple[int, int] | None


def groups(directory: Path) -> list[Group]:
    """Every container of the node, in the order of their uids; ``directory`` is <run>/cgroups."""
    found = []
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    for name in names:
        if name.isascii() and name.isdecimal() and identity.is_container_uid(int(name)):
            lines = text(f"{directory}/{name}").split("\n")
            paths = [line for line in lines if line.startswith("/")]
            if paths:
                found.append(_group(int(name), paths))
    return found


def _group(uid: int, paths: list[str]) -> Group:
    customer = paths[0].rsplit("/", 2)[-2]
    if os.path.exists(f"{paths[0]}/cgroup.controllers"):
        return Group(uid, customer, paths[0], {})
    v1 = {
        controller: path
        for controller, test in V1_TESTS.items()
        for path in paths
        if os.path.exists(f"{path}/{test}")
    }
    return Group(uid, customer, "", v1)


def figures(group: Group) -> Figures:
    """Read one container's figures now."""
    return _figures_v2(group.v2) if group.v2 else _figures_v1(group.v1)


def _figures_v2(path: str) -> Figures:
    cpu = field(text(f"{path}/cpu.stat"), "usage_usec")
    used = number(f"{path}/memory.current")
    inactive = field(text(f"{path}/memory.stat"), "inactive_file")
    pids = number(f"{path}/pids.current")
    # cgroup.events comes without the pids controller and counts the groups below as well.
    populated = field(text(f"{path}/cgroup.events"), "populated")
    io = text(f"{path}/io.stat")
    has_io = bool(io) or os.path.exists(f"{path}/io.stat")
    return Figures(
        is_up=populated == 1,
        cpu_seconds=None if cpu is None else cpu / MICROSECONDS,
        working_set_bytes=_working_set(used, inactive),
        memory_limit_bytes=number(f"{path}/memory.max"),
        oom_kills=field(text(f"{path}/memory.events"), "oom_kill"),
        pids=pids,
        io_bytes=_sum_v2(io, "rbytes", "wbytes") if has_io else None,
        io_operations=_sum_v2(io, "rios", "wios") if has_io else None,
    )


def _figures_v1(paths: dict[str, str]) -> Figures:
    memory, blkio = paths.get("memory", ""), paths.get("blkio", "")
    cpu = number(f"{paths.get('cpuacct', '')}/cpuacct.usage")
    used = number(f"{memory}/memory.usage_in_bytes")
    # total_: a hierarchical group's own inactive_file leaves out the groups below it.
    inactive = field(text(f"{memory}/memory.stat"), "total_inactive_file")
    limit = number(f"{memory}/memory.limit_in_bytes")
    pids = number(f"{paths.get('pids', '')}/pids.current")
    return Figures(
        is_up=bool(pids),
        cpu_seconds=None if cpu is None else cpu / NANOSECONDS,
        working_set_bytes=_working_set(used, inactive),
        memory_limit_bytes=None if limit is None or limit >= UNLIMITED else limit,
        oom_kills=field(text(f"{memory}/memory.oom_control"), "oom_kill"),
        pids=pids,
        io_bytes=_sum_v1(f"{blkio}/blkio.throttle.io_service_bytes") if blkio else None,
        io_operations=_sum_v1(f"{blkio}/blkio.throttle.io_serviced") if blkio else None,
    )


def _working_set(used: int | None, inactive: int | None) -> int | None:
    # The kernel gives the inactive file cache back before it kills anybody.
    return None if used is None else max(0, used - (inactive or 0))


def _sum_v2(content: str, *names: str) -> tuple[int, int]:
    # 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0
    return _sums(names, (word.partition("=")[::2] for word in content.split() if "=" in word))


def _sum_v1(path: str) -> tuple[int, int]:
    # 8:0 Read 4096
    words = (line.split() for line in text(path).split("\n"))
    return _sums(("Read", "Write"), ((w[1], w[2]) for w in words if len(w) == 3))


def _sums(names: tuple[str, ...], pairs: Iterator[tuple[str, str]]) -> tuple[int, int]:
    sums = dict.fromkeys(names, 0)
    for name, value in pairs:
        if name in sums and value.isdecimal():
            sums[name] += int(value)
    return sums[names[0]], sums[names[1]]
