"""One node and one container, as values."""

from pathlib import Path, PurePosixPath
from typing import Any

from insula.emperor.settings import Node, NodeSettings, Paths
from insula.vassals.render import Vassal, vassal_file
from insula.vassals.spec import ContainerSpec

NODE = Node(Paths(Path("/")), NodeSettings())


def container(uid: int = 30001, **changes: Any) -> ContainerSpec:
    """A running container of customer 7; ``changes`` replace its fields."""
    values: dict[str, Any] = {
        "uid": uid,
        "customer_id": 7,
        "name": "shop",
        "hostname": "shop",
        "distro": "default",
        "generation": 1,
        "revision": 5,
        "changed_at": 1000.0,
        "memory_bytes": 64 << 20,
        "cpu_percent": 50,
        "storage_bytes": 1 << 30,
        "pids_max": 64,
        "ssh_keys": ("ssh-ed25519 AAAA me",),
        "state": "running",
    } | changes
    vassal = Vassal(uid, 7, values["hostname"], values["distro"], values["generation"])
    include = PurePosixPath(NODE.paths.container_ini)
    values.setdefault("vassal", vassal_file(vassal, container_ini=include))
    return ContainerSpec(**values)
