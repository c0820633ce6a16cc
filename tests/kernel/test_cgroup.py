"""Control groups of the running kernel: limits hold, and reaping leaves nobody."""

import os
import time
from collections.abc import Iterator

import pytest

from insula.configurator.reconcile import kernel_of
from insula.emperor.errors import KernelError
from insula.emperor.kernel.cgroup import Cgroups, Limits, cgroup_ini
from tests.kernel.machine import fresh_node

pytestmark = pytest.mark.kernel
LIMITS = Limits(memory_bytes=32 << 20, cpu_percent=25, pids_max=20)


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    with fresh_node("dir") as node:
        found = kernel_of(node).cgroups
        found.prepare()
        yield found


def child_in(cgroups: Cgroups) -> int:
    """A sleeping process in all groups of container 30001 of customer 7."""
    child = os.fork()
    if child == 0:
        for group in cgroups.directories(7, 30001):
            (group / "cgroup.procs").write_text("0")
        time.sleep(30)
        os._exit(0)
    while child not in cgroups.pids(7, 30001):
        time.sleep(0.001)
    return child


def test_limits_are_read_back_as_they_were_set(cgroups: Cgroups) -> None:
    assert cgroups.limits(7, 30001) is None
    cgroups.limit(7, 30001, LIMITS)
    assert cgroups.limits(7, 30001) == LIMITS


@pytest.mark.parametrize("memory_bytes", [16 << 20, 256 << 20], ids=["shrink", "grow"])
def test_limits_change_in_both_directions(cgroups: Cgroups, memory_bytes: int) -> None:
    cgroups.limit(7, 30001, LIMITS)
    changed = Limits(memory_bytes=memory_bytes, cpu_percent=200, pids_max=40)
    cgroups.limit(7, 30001, changed)
    assert cgroups.limits(7, 30001) == changed


def test_what_tcp_holds_has_a_part_of_the_memory_limit_on_v1(cgroups: Cgroups) -> None:
    if cgroups.version == 2:
        pytest.skip("v2 counts it in the memory limit")
    cgroups.limit(7, 30001, LIMITS)
    path = next(
        group / "memory.kmem.tcp.limit_in_bytes"
        for group in cgroups.directories(7, 30001)
        if (group / "memory.limit_in_bytes").exists()
    )
    assert int(path.read_text()) == LIMITS.memory_bytes // 4
    # A group of an older release has no such limit: it counts as not limited yet.
    path.write_text("-1")
    assert cgroups.limits(7, 30001) != LIMITS
    cgroups.limit(7, 30001, LIMITS)
    assert cgroups.limits(7, 30001) == LIMITS


def test_reaping_kills_all_and_the_group_can_go(cgroups: Cgroups) -> None:
    cgroups.limit(7, 30001, LIMITS)
    children = [child_in(cgroups) for _ in range(3)]
    # Zombies of ours stay in the group until somebody waits for them.
    from threading import Thread

    threads = [Thread(target=os.waitpid, args=(child, 0)) for child in children]
    for thread in threads:
        thread.start()
    cgroups.reap(7, 30001)
    for thread in threads:
        thread.join()
    assert cgroups.pids(7, 30001) == []
    cgroups.remove(7, 30001)
    assert cgroups.known() == []


def test_a_group_in_use_is_not_removed(cgroups: Cgroups) -> None:
    cgroups.limit(7, 30001, LIMITS)
    child = child_in(cgroups)
    try:
        with pytest.raises(KernelError, match="a process is still in it|removing"):
            cgroups.remove(7, 30001)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_process_without_a_pid_namespace_is_nobodys_first(cgroups: Cgroups) -> None:
    cgroups.limit(7, 30001, LIMITS)
    child = child_in(cgroups)
    try:
        assert cgroups.first_process(7, 30001) is None
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_the_ini_names_one_existing_base_a_line(cgroups: Cgroups) -> None:
    lines = [line for line in cgroup_ini(cgroups).splitlines() if line.startswith("hook-asap")]
    assert len(lines) == len(cgroups.bases)
    assert all(base.is_dir() for base in cgroups.bases)
