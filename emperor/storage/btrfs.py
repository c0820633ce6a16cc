"""The btrfs storage driver: a subvolume and a quota group a container, snapshots for distros."""

import os
from collections.abc import Iterator
from pathlib import Path

from insula.emperor.errors import StorageError
from insula.emperor.settings import Paths
from insula.emperor.storage import ioctl, layout, pool


class BtrfsStorage:
    """Subvolumes below a btrfs at ``paths.pool``; limits hold for all that is made there."""

    def __init__(self, paths: Paths, *, pool_bytes: int) -> None:
        self.paths = paths
        self.pool_bytes = pool_bytes

    def prepare(self) -> None:
        pool.mount(self.paths, self.pool_bytes)
        ioctl.enable_quota(self.paths.pool)
        layout.prepare_pool(self.paths)

    def release(self) -> None:
        pool.unmount(self.paths)

    def create_container(self, uid: int, storage_bytes: int) -> None:
        target, building = self.paths.containers / str(uid), layout.unfinished(self.paths, uid)
        if self.has_container(uid):
            return
        self.delete_tree(building)
        ioctl.create_subvolume(building)
        # The limit stands before the first byte, and before the customer owns anything.
        self._join_group(building, uid)
        self.resize(uid, storage_bytes)
        layout.fill(building, uid)
        os.rename(building, target)

    def has_container(self, uid: int) -> bool:
        return (self.paths.containers / str(uid)).is_dir()

    def resize(self, uid: int, storage_bytes: int) -> None:
        ioctl.limit(self.paths.pool, ioctl.group_of(uid), storage_bytes)

    def limits(self) -> dict[int, int]:
        return {uid: limit for uid, (_, limit) in self._groups().items() if limit is not None}

    def used_bytes(self) -> dict[int, int]:
        return {uid: used for uid, (used, _) in self._groups().items()}

    def set_aside(self, uid: int, *, at: float) -> Path | None:
        if not self.has_container(uid):
            return None
        target = layout.aside(self.paths, uid, at)
        os.rename(self.paths.containers / str(uid), target)
        return target

    def purge(self, aside: Path) -> None:
        self.delete_tree(aside)
        uid = aside.name.partition("-")[0]
        if uid.isdecimal() and not self.has_container(int(uid)):
            ioctl.remove_group(self.paths.pool, ioctl.group_of(int(uid)))

    def create_tree(self, tree: Path) -> None:
        ioctl.create_subvolume(tree)
        os.chmod(tree, 0o755)

    def clone_tree(self, source: Path, target: Path) -> None:
        if not _is_subvolume(source):
            raise StorageError(f"{source} is not a subvolume", "build the distro again")
        ioctl.snapshot(source, target)

    def make_readonly(self, tree: Path) -> None:
        ioctl.set_readonly(tree, readonly=True)

    def delete_tree(self, tree: Path) -> None:
        if not tree.exists():
            return
        if not _is_subvolume(tree):
            layout.remove_tree(tree)
            return
        try:
            for parent, name in _nested(tree):
                try:
                    _destroy(parent, name)
                finally:
                    os.close(parent)
        except RecursionError:
            # fwalk ends at Python's limit; rmdir(2) deletes emptied subvolumes as well (Linux 4.18)
            layout.remove_tree(tree)
            return
        parent = os.open(tree.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _destroy(parent, tree.name)
        finally:
            os.close(parent)

    def _join_group(self, subvolume: Path, uid: int) -> None:
        group = ioctl.group_of(uid)
        ioctl.create_group(self.paths.pool, group)
        ioctl.assign(self.paths.pool, ioctl.subvolume_id(subvolume), group)

    def _groups(self) -> dict[int, tuple[int, int | None]]:
        groups = read_groups(pool.quota_table(self.paths.pool))
        return {uid: value for uid, value in groups.items() if self.has_container(uid)}


def read_groups(table: str) -> dict[int, tuple[int, int | None]]:
    """uid -> (used, limit) from the output of ``btrfs qgroup show --raw -r``."""
    found: dict[int, tuple[int, int | None]] = {}
    for line in table.splitlines():
        words = line.split()
        if len(words) >= 4 and words[0].startswith("1/") and words[0][2:].isdecimal():
            limit = int(words[3]) if words[3].isdecimal() else None
            found[int(words[0][2:])] = (int(words[1]), limit)
    return found


def _is_subvolume(path: Path) -> bool:
    return os.lstat(path).st_ino == ioctl.SUBVOLUME_INODE and path.is_dir()


def _nested(tree: Path) -> Iterator[tuple[int, str]]:
    """The subvolumes that a customer made inside, deepest first: (descriptor of parent, name)."""
    top = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # fwalk opens each directory by descriptor and without following links.
        for _, names, _, parent in os.fwalk(".", topdown=False, dir_fd=top):
            for name in names:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if found.st_ino == ioctl.SUBVOLUME_INODE:
                    yield os.dup(parent), name
    finally:
        os.close(top)


def _destroy(parent: int, name: str) -> None:
    # A read-only subvolume cannot lose what is in it, nor be deleted by its owner.
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    fd = os.open(name, flags, dir_fd=parent)
    try:
        ioctl.set_readonly(fd, readonly=False)
    finally:
        os.close(fd)
    ioctl.destroy_subvolume(parent, name)
