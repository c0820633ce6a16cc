"""Where homes and distros lie, and how much they may hold: one interface, one driver a kind."""

from insula.emperor.settings import Node
from insula.emperor.storage.btrfs import BtrfsStorage
from insula.emperor.storage.directory import DirectoryStorage
from insula.emperor.storage.interface import Storage

__all__ = ["Storage", "driver"]


def driver(node: Node) -> Storage:
    """The driver that the node's settings name."""
    if node.settings.storage == "btrfs":
        return BtrfsStorage(node.paths, pool_bytes=node.settings.pool_bytes)
    return DirectoryStorage(node.paths)
