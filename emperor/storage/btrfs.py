"""The btrfs storage driver: a subvolume and a quota group a container, snapshots for distros."""

import errno
import os
import stat
from pathlib import Path

from insula.emperor.errors import StorageError
from insula.emperor.kernel.beneath import hold, open_beneath
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
        if not tree.parent.is_dir() or not os.path.lexists(tree):
            return
        if not _is_subvolume(tree) or not _destroy(tree):
            layout.remove_tree(tree, entered=_open_for_writing)

    def _join_group(self, subvolume: Path, uid: int) -> None:
        group = ioctl.group_of(uid)
        ioctl.create_group(self.paths.pool, group)
        ioctl.assign(self.paths.pool, ioctl.subvolume_id(subvolume), group)

    def _groups(self) -> dict[int, tuple[int, int | None]]:
        found = {
            ioctl.uid_of(group): value for group, value in ioctl.groups(self.paths.pool).items()
        }
        return {
            uid: value
            for uid, value in found.items()
            if uid is not None and self.has_container(uid)
        }


def _is_subvolume(path: Path) -> bool:
    found = os.lstat(path)
    return found.st_ino == ioctl.SUBVOLUME_INODE and stat.S_ISDIR(found.st_mode)


def _destroy(tree: Path) -> bool:
    """Delete a subvolume at once; False when it holds another one, which must go first."""
    with hold(tree.parent) as above:
        fd = open_beneath(above.fd, tree.name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _open_for_writing(fd)
        finally:
            os.close(fd)
        try:
            ioctl.destroy_subvolume(above.fd, tree.name)
        except StorageError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.ENOTEMPTY:
                raise
            return False
    return True


def _open_for_writing(directory: int) -> None:
    # A read-only subvolume cannot lose what is in it, nor be deleted by its owner.
    if os.fstat(directory).st_ino == ioctl.SUBVOLUME_INODE:
        ioctl.set_readonly(directory, readonly=False)
