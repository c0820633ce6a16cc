"""What a cut of the power takes from a node, taken away at once; nothing is asked to stop."""

import contextlib
import os
import signal
from pathlib import Path

from insula.emperor import down, service, settings
from insula.emperor.errors import StorageError
from insula.emperor.kernel import cgroup, lxcfs_group, services_group
from insula.emperor.storage import driver
from tests.system.conftest import Node, leftovers


def cut_power(node: Node) -> None:
    """Kill every process of the node and take its mounts, links, cgroups and firewall away.

    The disk stays as it was, with every half-written thing on it.
    """
    found = settings.load(node.root)
    supervisor = service.supervisor_pid(found.paths)
    if supervisor is not None:
        os.kill(supervisor, signal.SIGKILL)
    services_group.reap(services_group.paths_of(found.cgroup_name))
    groups = cgroup.detect(found.cgroup_name)
    for customer_id, uid in groups.known():
        groups.reap(customer_id, uid)
        groups.remove(customer_id, uid)
    down.remove_network(found)
    down.unmount_run(found)
    groups.release()
    services_group.remove(services_group.paths_of(found.cgroup_name))
    services_group.remove(lxcfs_group.paths_of(groups))
    with contextlib.suppress(StorageError):
        driver(found).release()
    # A distro's build of another node on this machine has a copy of every mount until it ends. The
    # file system lives on then, as no cut would leave it; the start takes the same loop again.
    if strangers := _holders(found.paths.pool):
        print(f"the pool is held by {strangers}")
        assert not any(str(node.root) in item for item in strangers), strangers
    left = [
        item for item in leftovers()
        if "supervise.sh" not in item and not (strangers and item.startswith("loop "))
    ]  # fmt: skip
    assert left == [], left


def _holders(place: Path) -> list[str]:
    """Whose namespaces have the place mounted; another node's build copies all that it finds."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f" {place}" in (process / "mountinfo").read_text():
                found.append(f"{process.name} {(process / 'cmdline').read_bytes()[:120]!r}")
    return found
