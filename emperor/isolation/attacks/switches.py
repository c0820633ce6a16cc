"""Attacks by files of the kernel: switches in /proc and /sys, and what they tell of the machine."""

import os
import stat
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks.contract import Absent, Held, Targets, any_of, attack

_SPACE_BYTES = 4096
# Each of them runs a program as root, decides about memory of all, or makes other holes usable.
_SYSCTLS = (
    "kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "fs/binfmt_misc/register",
    "kernel/poweroff_cmd", "vm/overcommit_memory", "vm/drop_caches", "kernel/randomize_va_space",
    "fs/file-max", "kernel/pid_max",
)  # fmt: skip
_SYSFS = (
    "kernel/uevent_helper", "power/state", "kernel/kexec_crash_size", "kernel/profiling",
    "kernel/mm/transparent_hugepage/enabled", "kernel/mm/ksm/run", "module/kernel/parameters/panic",
    "bus/platform/drivers_autoprobe", "devices/system/cpu/cpu0/uevent",
)  # fmt: skip
_ADDRESSES = ("kallsyms", "iomem", "modules", "vmallocinfo")
# Readable for all where nothing lies over them; each speaks of the whole machine.
_STATE = (
    "kallsyms", "interrupts", "softirqs", "zoneinfo", "buddyinfo", "partitions", "iomem", "ioports",
    "cmdline", "schedstat", "sched_debug", "timer_list", "key-users", "modules", "consoles",
    "latency_stats", "pagetypeinfo", "mtrr", "pressure/memory", "fs/nfsfs/servers",
)  # fmt: skip


def _open(path: Path, flags: int) -> int:
    """A real file of the kernel's; Held when a device lies over it."""
    found = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise Held(f"{path} is covered")


def open_to_write(path: Path) -> str:
    """Opening is proof enough; writing would do harm."""
    os.close(_open(path, os.O_WRONLY))
    return f"could write {path}"


def _beginning(path: Path) -> bytes:
    file = _open(path, os.O_RDONLY)
    try:
        return os.read(file, _SPACE_BYTES)
    finally:
        os.close(file)


def _each(root: str, names: tuple[str, ...], act: Callable[[Path], str]) -> str:
    return any_of([partial(act, Path(root, name)) for name in names])


@attack
def write_sysctl(_targets: Targets) -> str:
    """The switches that have led to root on other platforms first."""
    return _each("/proc/sys", _SYSCTLS, open_to_write)


@attack
def write_sysfs(_targets: Targets) -> str:
    """Those that run programs or put the machine to sleep."""
    return _each("/sys", _SYSFS, open_to_write)


@attack
def write_sysrq(_targets: Targets) -> str:
    """One letter there reboots the machine."""
    path = Path("/proc/sysrq-trigger")
    if not path.exists():
        # a cover would be there in its place
        raise Absent("this kernel has no magic keys")
    return open_to_write(path)


@attack
def read_kernels_memory(_targets: Targets) -> str:
    """Where its code and its data lie, and what stands there."""
    return any_of([partial(addresses, Path("/proc", name)) for name in _ADDRESSES] + [_core])


def addresses(path: Path) -> str:
    for line in _beginning(path).decode(errors="replace").splitlines():
        for word in line.replace("-", " ").split():
            with_address = word.removeprefix("0x")
            if len(with_address) >= 8 and set(with_address) <= set("0123456789abcdef"):
                if int(with_address, 16) > 0:
                    return f"an address of the kernel from {path}: {line[:80]}"
    raise Held(f"{path} has no addresses")


def _core() -> str:
    begin = _beginning(Path("/proc/kcore"))
    if not begin.startswith(b"\x7fELF"):
        raise Held("/proc/kcore is empty")
    return "read /proc/kcore, the machine's memory"


@attack
def read_machines_state(_targets: Targets) -> str:
    """What others do shows in interrupts, memory zones, timers, the command line."""
    return _each("/proc", _STATE, _tells)


def _tells(path: Path) -> str:
    if found := _beginning(path):
        return f"{path} says {found[:60]!r}"
    raise Held(f"{path} is empty")


@attack
def see_physical_addresses(_targets: Targets) -> str:
    """Of our own memory: with them one attacks the memory's chips and caches."""
    present, number_bits, entry_bytes = 1 << 63, (1 << 55) - 1, 8
    with Path("/proc/self/maps").open() as maps, Path("/proc/self/pagemap").open("rb", 0) as pages:
        for line in maps:
            start = int(line.partition("-")[0], 16)
            if start >> 63:
                continue
            pages.seek(start // os.sysconf("SC_PAGESIZE") * entry_bytes)
            entry = struct.unpack("=Q", pages.read(entry_bytes).ljust(entry_bytes, b"\0"))[0]
            if entry & present and entry & number_bits:
                return f"our page at {start:#x} is frame {entry & number_bits:#x}"
    raise Held("the frames' numbers read as 0")


@attack
def see_cgroups(targets: Targets) -> str:
    """Our place in the machine's tree of groups names the node, our customer and ourselves."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        path = line.split(":", 2)[2]
        if path.endswith(f"/{targets.own.uid}") or "insula" in path:
            return f"our group is {path}"
    raise Held("our groups' paths begin at the container")


@attack
def escape_cgroup(targets: Targets) -> str:
    """Join each group above our own, from the top down. The process ends there soon."""
    above = [
        Path(*Path(group).parts[:count])
        for group in targets.machine.cgroups
        for count in range(2, len(Path(group).parts))
    ]
    if not above:
        raise ValueError("our own groups are not known")
    return any_of([partial(_join, group / "cgroup.procs") for group in above])


def _join(procs: Path) -> str:
    before = _groups()
    # for writing alone: where no group is, no file is made
    file = os.open(procs, os.O_WRONLY)
    try:
        os.write(file, b"0")
    finally:
        os.close(file)
    changed = [line for line in _groups() if line not in before]
    if not changed:
        raise Held(f"in {procs.parent} already")
    return f"moved into {procs.parent}: {changed[0]}"


def _groups() -> list[str]:
    return Path("/proc/self/cgroup").read_text().splitlines()
