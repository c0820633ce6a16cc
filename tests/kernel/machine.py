"""A node of its own for one kernel test: real storage, networks, cgroups; gone afterwards."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from insula.configurator.actual import Kernel
from insula.configurator.reconcile import kernel_of
from insula.emperor.errors import KernelError, StorageError
from insula.emperor.kernel import firewall, lxcfs_group, services_group
from insula.emperor.settings import Node, NodeSettings, Paths, StorageDriver

GIBIBYTE = 1 << 30
FIRST_NETWORK = "10.213.0.0/16"


@contextmanager
def fresh_node(storage: StorageDriver = "btrfs", network: str = FIRST_NETWORK) -> Iterator[Node]:
    """A node below a new directory; whatever a test leaves of it is taken away."""
    sweep()
    root = Path(tempfile.mkdtemp(prefix=f"insula-cfg-{os.getpid()}-", dir="/tmp"))
    root.chmod(0o755)  # customers pass through to their homes
    node = Node(
        Paths(root),
        NodeSettings(network=network, storage=storage, pool_bytes=GIBIBYTE, default_distro="tiny"),
    )
    forwards = Path("/proc/sys/net/ipv4/ip_forward")
    before = forwards.read_text()
    try:
        for path in (node.paths.etc, node.paths.lib, node.paths.run):
            path.mkdir(parents=True)
        node.paths.node_toml.write_text(node.settings.to_toml())
        node.paths.local_json.write_text(json.dumps(empty_state("local", 0)))
        yield node
    finally:
        take_away(node, kernel_of(node))
        if forwards.read_text() != before:
            forwards.write_text(before)


def sweep() -> None:
    """Take away what a test run that was killed has left."""
    for root in Path("/tmp").glob("insula-cfg-*-*"):
        if not Path("/proc", root.name.split("-")[2]).exists():
            node = Node(Paths(root), NodeSettings(network=FIRST_NETWORK))
            take_away(node, kernel_of(node))


def take_away(node: Node, kernel: Kernel) -> None:
    """Reap, unmount and delete everything of a node."""
    for customer_id, uid in kernel.cgroups.known():
        kernel.cgroups.reap(customer_id, uid)
    kernel.cgroups.release()
    services_group.remove(lxcfs_group.paths_of(kernel.cgroups))
    kernel.network.release()
    with suppress(KernelError):
        firewall.remove(node.nft_table)
    with suppress(StorageError):
        kernel.storage.release()
    shutil.rmtree(node.paths.root)


def add_distro(node: Node, kernel: Kernel, name: str = "tiny") -> None:
    """As little of a distro as the configurator reads: its accounts."""
    kernel.storage.prepare()
    tree = node.paths.distros / name
    kernel.storage.create_tree(tree)
    (tree / "etc").mkdir()
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (tree / "etc/group").write_text("root:x:0:\n")


def empty_state(installation: str, revision: int) -> dict[str, object]:
    """A desired state that mentions nothing."""
    return {
        "installation": installation,
        "revision": revision,
        "containers": [],
        "customers": [],
        "domains": [],
    }
