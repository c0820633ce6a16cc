"""What a cut of the power takes from a node, taken away at once; nothing is asked to stop."""

import os
import signal

from insula.emperor import down, service, settings
from insula.emperor.kernel import cgroup, services_group
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
    services_group.reap(services_group.path_of(found.cgroup_name))
    groups = cgroup.detect(found.cgroup_name)
    for customer_id, uid in groups.known():
        groups.reap(customer_id, uid)
        groups.remove(customer_id, uid)
    down.remove_network(found)
    down.unmount_run(found)
    driver(found).release()
    groups.release()
    services_group.remove(services_group.path_of(found.cgroup_name))
    left = [item for item in leftovers() if "supervise.sh" not in item]
    assert left == [], left
