"""lxcfs's own cgroups: it works for whichever container reads, so no container's limits bound it.

A reader with a limit of half a core held one and a half by lxcfs's threads, with the platform's
weight; and each open file costs lxcfs up to the file's size, which grows with the processors.
"""

from contextlib import suppress

from insula.emperor.errors import KernelError
from insula.emperor.kernel import cgroup, services_group, shares
from insula.emperor.kernel.cgroup import Cgroups

MEMORY_BYTES, CPU_PERCENT = 256 * 1024**2, 50
_V1 = ("memory.limit_in_bytes", "cpu.cfs_quota_us")
_PERIOD = cgroup.PERIOD_MICROSECONDS
_QUOTA = CPU_PERCENT * _PERIOD // 100
_LIMITS = {
    "memory.limit_in_bytes": str(MEMORY_BYTES),
    "memory.memsw.limit_in_bytes": str(MEMORY_BYTES),
    "cpu.cfs_quota_us": str(_QUOTA),
    "memory.max": str(MEMORY_BYTES),
    "memory.swap.max": "0",
    "cpu.max": f"{_QUOTA} {_PERIOD}",
}


def paths_of(cgroups: Cgroups) -> services_group.Groups:
    """Where they lie: beside the containers' base; on v1 for memory and processors."""
    bases = cgroups.bases
    if cgroups.version == 1:
        # the group of pids stays the services', by which they are found and ended
        bases = tuple(b for b in bases if any((b.parent / name).exists() for name in _V1))
    return tuple(base.with_name(f"{base.name}.lxcfs") for base in bases)


def limit(groups: services_group.Groups) -> None:
    """Have the groups and set their limits, as one customer of the containers. Raises KernelError.

    On v2 the files come when the unit's group hands its controllers down, so this is done then too.
    """
    for group in groups:
        try:
            group.mkdir(exist_ok=True)
            for name, value in _LIMITS.items():
                if (group / name).exists() and (group / name).read_text().strip() != value:
                    (group / name).write_text(value)
        except OSError as error:
            raise KernelError(f"limiting lxcfs by {group}: {error.strerror}") from error
        shares.weigh(group, shares.CUSTOMER)


def join(groups: services_group.Groups) -> None:
    """Move this process there. lxcfs without limits is better than containers without lxcfs."""
    with suppress(KernelError):
        limit(groups)
    for group in groups:
        with suppress(OSError):
            (group / "cgroup.procs").write_text("0")
