"""Control groups, v2 and v1 behind one interface: limits, first process and end of a container.

A container's group is ``<base>/<customer>/<uid>``: the level between lets a customer have a ceiling
over all its containers.
"""

import mmap
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from insula.emperor.errors import KernelError
from insula.emperor.kernel import process, shares

ROOT = Path("/sys/fs/cgroup")
LEAF = "platform"
V1_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "blkio", "freezer")
V1_NEEDED = ("memory", "cpu", "pids")
V2_NEEDED = ("memory", "cpu", "pids")
PERIOD_MICROSECONDS = 100_000
REAP_SECONDS = 5.0
_UNLIMITED = 1 << 62
# v1 counts what TCP holds for unread sockets beside the memory limit, and has no limit for it: one
# container could take all that the machine's TCP may use. A part of the memory limit is plenty.
_TCP_LIMIT, _TCP_PART = "memory.kmem.tcp.limit_in_bytes", 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; ``cpu_percent`` is of one core."""

    memory_bytes: int
    cpu_percent: int
    pids_max: int

    @property
    def cpu_quota_microseconds(self) -> int:
        # The kernel refuses a quota below one millisecond.
        return max(1000, self.cpu_percent * PERIOD_MICROSECONDS // 100)


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The node's groups: one base directory on v2, one a controller on v1."""

    version: Literal[1, 2]
    bases: tuple[Path, ...]

    def directories(self, customer_id: int, uid: int) -> tuple[Path, ...]:
        """The container's group in every hierarchy."""
        return tuple(base / str(customer_id) / str(uid) for base in self.bases)

    def prepare(self) -> None:
        """Make the bases and hand the controllers down. Raises KernelError."""
        for base in self.bases:
            if self.version == 2:
                _clear_for_children(base.parent)
                hand_down(base.parent)
                shares.weigh(base.parent / LEAF, shares.PLATFORM)
            _make(base)
            shares.weigh(base, shares.CONTAINERS)
            if self.version == 2:
                hand_down(base)

    def ensure(self, customer_id: int, uid: int) -> None:
        """Make the container's group in every hierarchy; it has no limits yet."""
        for directory in self.directories(customer_id, uid):
            if not directory.is_dir():
                _make(directory.parent)
                if self.version == 2:
                    hand_down(directory.parent)
                _make(directory)
            if customer_id == shares.API_CUSTOMER:
                shares.weigh(directory.parent, shares.API)

    def limit(self, customer_id: int, uid: int, limits: Limits) -> None:
        """Set the limits of a running or coming container at once. Raises KernelError."""
        self.ensure(customer_id, uid)
        groups = self.directories(customer_id, uid)
        if self.version == 2:
            _limit_v2(groups[0], limits)
        else:
            _limit_v1(groups, limits)

    def limits(self, customer_id: int, uid: int) -> Limits | None:
        """The limits as the kernel has them; None when the group is not whole."""
        groups = self.directories(customer_id, uid)
        try:
            return _limits_v2(groups[0]) if self.version == 2 else _limits_v1(groups)
        except (FileNotFoundError, StopIteration):
            return None

    def pids(self, customer_id: int, uid: int) -> list[int]:
        """Every process of the container, those in groups below its own too."""
        groups = self.directories(customer_id, uid)
        return sorted({pid for group in groups for pid in _pids_below(group)})

    def first_process(self, customer_id: int, uid: int) -> int | None:
        """The container's process 1, as a pid of the host; None while none lives."""
        return process.first_of(_pids_in(self.directories(customer_id, uid)[0]))

    def reap(self, customer_id: int, uid: int) -> None:
        """Kill all of a container's processes and wait until the group is empty.

        Raises KernelError when something lives on after REAP_SECONDS.
        """
        groups = self.directories(customer_id, uid)
        if self.version == 2 and _write_if_there(groups[0] / "cgroup.kill", "1"):
            _wait_until(lambda: not self.pids(customer_id, uid))
        # Also on v1 in every hierarchy: a process that joined one group only would live on.
        deadline = time.monotonic() + REAP_SECONDS
        while alive := self.pids(customer_id, uid):
            if time.monotonic() > deadline:
                raise KernelError(
                    f"container {uid}: processes {alive[:5]} do not die",
                    "they hang in the kernel: look at their state with ps",
                )
            _kill(alive)
            time.sleep(0.002)

    def remove(self, customer_id: int, uid: int) -> None:
        """Remove the empty group and, if it was the customer's last, the customer's."""
        for directory in self.directories(customer_id, uid):
            _remove_tree(directory)
            try:
                directory.parent.rmdir()
            except OSError:
                continue

    def known(self) -> list[tuple[int, int]]:
        """(customer, uid) of every group that exists in any hierarchy."""
        found: set[tuple[int, int]] = set()
        for base in self.bases:
            for path in base.glob("*/*/cgroup.procs"):
                customer, uid = path.parent.parent.name, path.parent.name
                if customer.isdecimal() and uid.isdecimal():
                    found.add((int(customer), int(uid)))
        return sorted(found)

    def release(self) -> None:
        """Remove every empty group of the node, the bases too; groups in use stay."""
        for customer_id, uid in self.known():
            self.remove(customer_id, uid)
        for base in self.bases:
            for path in (*base.glob("*/"), base):
                try:
                    path.rmdir()
                except OSError:
                    continue


def detect(
    name: str, *, root: Path = ROOT, self_cgroup: Path = Path("/proc/self/cgroup")
) -> Cgroups:
    """Find out what this machine has; ``name`` is the node's ``cgroup_name``.

    Raises KernelError that names the controllers that are missing.
    """
    controllers = root / "cgroup.controllers"
    if controllers.exists():
        missing = set(V2_NEEDED) - set(controllers.read_text().split())
        if missing:
            raise KernelError(
                f"cgroup v2 has no controller {', '.join(sorted(missing))}",
                "enable it on the kernel's command line, for instance cgroup_enable=memory",
            )
        return Cgroups(2, (_base_v2(name, root, self_cgroup),))
    missing = {item for item in V1_NEEDED if not (root / item / "cgroup.procs").exists()}
    if missing:
        raise KernelError(
            f"{root} has neither cgroup v2 nor the v1 controllers {', '.join(sorted(missing))}",
            "mount them, or boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)",
        )
    # Some machines mount cpu and cpuacct together: two names, one directory.
    found = dict.fromkeys(
        (root / item).resolve()
        for item in V1_CONTROLLERS
        if (root / item / "cgroup.procs").exists()
    )
    return Cgroups(1, tuple(path / name for path in found))


def cgroup_ini(cgroups: Cgroups) -> str:
    """The text of ``cgroup.ini``: the lines by which a booting container joins its groups.

    Each ``0`` is the writer itself; uWSGI's own ``cgroup =`` option knows v1 alone.
    """
    lines = [
        f"hook-asap = write:{base}/%(customer)/%(container)/cgroup.procs 0"
        for base in cgroups.bases
    ]
    head = f"; Written by the node: the cgroups of this machine (v{cgroups.version}).\n[uwsgi]\n"
    return head + "\n".join(lines) + "\n"


def _base_v2(name: str, root: Path, self_cgroup: Path) -> Path:
    # systemd owns the tree: only what it delegated to our unit is ours.
    own = next(
        (
            line.partition("::")[2]
            for line in self_cgroup.read_text().splitlines()
            if line.startswith("0::")
        ),
        "/",
    )
    inside = re.match(r"(/.*/insula[^/]*\.service)(?=/|$)", own)
    if inside is not None:
        return root / inside[1].lstrip("/") / name
    unit = root / "system.slice" / f"{name}.service"
    return unit / name if unit.is_dir() else root / name


def _clear_for_children(unit: Path) -> None:
    # A v2 group with processes of its own cannot hand controllers to its children (the root can),
    # so the unit's own processes step into a leaf beside the containers.
    if not unit.name.endswith(".service"):
        return
    leaf = unit / LEAF
    _make(leaf)
    for pid in _pids_in(unit):
        try:
            (leaf / "cgroup.procs").write_text(str(pid))
        except ProcessLookupError:
            continue


def hand_down(directory: Path) -> None:
    """Let a v2 group's children have the controllers that we use. Raises KernelError."""
    path = directory / "cgroup.subtree_control"
    enabled = path.read_text().split()
    offered = (directory / "cgroup.controllers").read_text().split()
    wanted = [item for item in (*V2_NEEDED, "io") if item in offered and item not in enabled]
    if wanted:
        _write(path, " ".join(f"+{item}" for item in wanted))


def _limit_v2(group: Path, limits: Limits) -> None:
    _set(group / "memory.max", str(limits.memory_bytes))
    if (group / "memory.swap.max").exists():
        _set(group / "memory.swap.max", "0")
    _set(group / "cpu.max", f"{limits.cpu_quota_microseconds} {PERIOD_MICROSECONDS}")
    _set(group / "pids.max", str(limits.pids_max))


def _limit_v1(groups: tuple[Path, ...], limits: Limits) -> None:
    memory = _with(groups, "memory.limit_in_bytes")
    swap = memory.with_name("memory.memsw.limit_in_bytes")
    both = [memory, swap] if swap.exists() else [memory]
    # The kernel refuses a memory limit above memory + swap: grow from outside, shrink from inside.
    grows = limits.memory_bytes > int(memory.read_text())
    for path in reversed(both) if grows else both:
        _set(path, str(limits.memory_bytes))
    tcp = memory.with_name(_TCP_LIMIT)
    if tcp.exists():
        _set(tcp, str(_tcp_bytes(limits)))
    cpu = _with(groups, "cpu.cfs_quota_us")
    _set(cpu.with_name("cpu.cfs_period_us"), str(PERIOD_MICROSECONDS))
    _set(cpu, str(limits.cpu_quota_microseconds))
    _set(_with(groups, "pids.max"), str(limits.pids_max))


def _tcp_bytes(limits: Limits) -> int:
    """A whole number of pages, as the kernel would round it."""
    return limits.memory_bytes // _TCP_PART // mmap.PAGESIZE * mmap.PAGESIZE


def _limits_v2(group: Path) -> Limits:
    quota, period = (group / "cpu.max").read_text().split()
    return Limits(
        memory_bytes=_number((group / "memory.max").read_text()),
        cpu_percent=_percent(quota, period),
        pids_max=_number((group / "pids.max").read_text()),
    )


def _limits_v1(groups: tuple[Path, ...]) -> Limits | None:
    if not all(group.is_dir() for group in groups):
        return None
    cpu = _with(groups, "cpu.cfs_quota_us")
    memory = _with(groups, "memory.limit_in_bytes")
    swap = memory.with_name("memory.memsw.limit_in_bytes")
    tcp = memory.with_name(_TCP_LIMIT)
    # The largest: whoever was killed between them has not set the limit yet.
    found = [_number(p.read_text()) for p in (memory, swap) if p.exists()]
    found += [_number(tcp.read_text()) * _TCP_PART] if tcp.exists() else []
    return Limits(
        memory_bytes=max(found),
        cpu_percent=_percent(cpu.read_text(), cpu.with_name("cpu.cfs_period_us").read_text()),
        pids_max=_number(_with(groups, "pids.max").read_text()),
    )


def _number(text: str) -> int:
    return _UNLIMITED if text.strip() == "max" else int(text)


def _percent(quota: str, period: str) -> int:
    if quota.strip() in ("max", "-1"):
        return _UNLIMITED
    return int(quota) * 100 // int(period)


def _with(groups: tuple[Path, ...], name: str) -> Path:
    return next(group / name for group in groups if (group / name).exists())


def _pids_in(group: Path) -> list[int]:
    try:
        return [int(word) for word in (group / "cgroup.procs").read_text().split()]
    except (FileNotFoundError, OSError):
        return []


def _pids_below(group: Path) -> list[int]:
    return [pid for path, _, _ in os.walk(group) for pid in _pids_in(Path(path))]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        # 0 stands for a process outside of our pid namespace: killing "0" would hit ourselves.
        if pid > 1:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + REAP_SECONDS
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.002)


def _remove_tree(directory: Path) -> None:
    for path, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KernelError(
                f"removing cgroup {path}: {error.strerror}", "a process is still in it"
            ) from error


def _make(directory: Path) -> None:
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise KernelError(
            f"making cgroup {directory}: {error.strerror}",
            "the cgroup file system is read-only, or its parent is missing",
        ) from error


def _set(path: Path, value: str) -> None:
    """Write only what differs: the kernel looks at every page or task on a write."""
    if path.read_text().strip() != value:
        _write(path, value)


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise KernelError(
            f"writing {value} to {path}: {error.strerror}",
            "a limit below what is in use is refused: stop processes first, or set it higher",
        ) from error


def _write_if_there(path: Path, value: str) -> bool:
    if not path.exists():
        return False
    _write(path, value)
    return True
