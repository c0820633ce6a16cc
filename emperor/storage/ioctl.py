"""The btrfs ioctls that the storage driver needs; each is tens of microseconds, a program 5 ms."""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from insula.emperor.errors import StorageError

SUBVOLUME_INODE = 256
_MAGIC = 0x94
_WRITE, _READ, _BOTH = 1, 2, 3
_QUOTA_ENABLE = 1
_QUOTA_ENABLE_SIMPLE = 4
_LIMIT_REFERENCED = 1
_READONLY = 2
# the tree of quotas, and the kinds of its items (linux/btrfs_tree.h)
_QUOTA_TREE, _GROUP_INFO, _GROUP_LIMIT = 8, 242, 244
_SEARCH, _HEADER = struct.Struct("=7Q4I4QQ"), struct.Struct("=3Q2I")
_SEARCH_BYTES = 1 << 16
_MOST = (1 << 64) - 1


def _number(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | _MAGIC << 8 | number


_SUBVOL_CREATE = _number(_WRITE, 14, 4096)
_SNAP_DESTROY = _number(_WRITE, 15, 4096)
_TREE_SEARCH_V2 = _number(_BOTH, 17, 112)
_INO_LOOKUP = _number(_BOTH, 18, 4096)
_SNAP_CREATE_V2 = _number(_WRITE, 23, 4096)
_SUBVOL_GETFLAGS = _number(_READ, 25, 8)
_SUBVOL_SETFLAGS = _number(_WRITE, 26, 8)
_QUOTA_CTL = _number(_BOTH, 40, 16)
_QGROUP_ASSIGN = _number(_WRITE, 41, 24)
_QGROUP_CREATE = _number(_WRITE, 42, 16)
_QGROUP_LIMIT = _number(_READ, 43, 48)


def _call(directory: Path | int, request: int, data: bytes, about: str) -> bytearray:
    buffer = bytearray(data)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = directory if isinstance(directory, int) else os.open(directory, flags)
    try:
        fcntl.ioctl(fd, request, buffer)
    except OSError as error:
        hint = "the pool is full: enlarge pool_bytes" if error.errno == errno.ENOSPC else None
        raise StorageError(f"{about}: {error.strerror}", hint) from error
    finally:
        if not isinstance(directory, int):
            os.close(fd)
    return buffer


def _named(name: str, *, fd: int = 0) -> bytes:
    return struct.pack("q4088s", fd, os.fsencode(name))


def create_subvolume(path: Path) -> None:
    """Make an empty subvolume."""
    _call(path.parent, _SUBVOL_CREATE, _named(path.name), f"making subvolume {path}")


def destroy_subvolume(parent: Path | int, name: str) -> None:
    """Delete a subvolume that holds no other one."""
    _call(parent, _SNAP_DESTROY, _named(name), f"deleting subvolume {name}")


def snapshot(source: Path, target: Path) -> None:
    """A writable copy of a subvolume that shares all its blocks."""
    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        data = struct.pack("qQQ32x4040s", fd, 0, 0, os.fsencode(target.name))
        _call(target.parent, _SNAP_CREATE_V2, data, f"copying {source} to {target}")
    finally:
        os.close(fd)


def subvolume_id(path: Path) -> int:
    """The number of the subvolume that holds ``path``."""
    data = struct.pack("QQ4080s", 0, SUBVOLUME_INODE, b"")
    return int(struct.unpack_from("Q", _call(path, _INO_LOOKUP, data, f"reading {path}"))[0])


def set_readonly(directory: Path | int, *, readonly: bool) -> None:
    """Set or clear a subvolume's read-only flag."""
    before = _call(directory, _SUBVOL_GETFLAGS, bytes(8), "reading a subvolume's flags")
    flags = int(struct.unpack("Q", before)[0])
    after = flags | _READONLY if readonly else flags & ~_READONLY
    if after != flags:
        data = struct.pack("Q", after)
        _call(directory, _SUBVOL_SETFLAGS, data, "setting a subvolume's read-only flag")


def enable_quota(pool: Path) -> None:
    """Turn quotas on, simple ones where the kernel has them (6.7); on already is no error.

    With simple quotas a subvolume that a customer makes inside its home counts to its own limit:
    the kernel adds it to the parent's group. With the older ones it would count to nobody.
    """
    try:
        _call(pool, _QUOTA_CTL, struct.pack("2Q", _QUOTA_ENABLE_SIMPLE, 0), "enabling quotas")
    except StorageError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno != errno.EINVAL:
            raise
        _call(pool, _QUOTA_CTL, struct.pack("2Q", _QUOTA_ENABLE, 0), f"enabling quotas of {pool}")


def groups(pool: Path) -> dict[int, tuple[int, int | None]]:
    """(bytes used, limit) of each quota group, as of the last commit (seconds ago at most).

    From the kernel, not from the words of a program: those show names that customers chose.
    """
    used: dict[int, int] = {}
    limits: dict[int, int] = {}
    for kind, group, data in _quota_items(pool):
        if kind == _GROUP_INFO and len(data) >= 16:
            used[group] = struct.unpack_from("<8xQ", data)[0]
        elif kind == _GROUP_LIMIT and len(data) >= 16:
            flags, limit_bytes = struct.unpack_from("<2Q", data)
            if flags & _LIMIT_REFERENCED and limit_bytes != _MOST:
                limits[group] = limit_bytes
    return {group: (value, limits.get(group)) for group, value in used.items()}


def _quota_items(pool: Path) -> Iterator[tuple[int, int, bytes]]:
    kind, offset = _GROUP_INFO, 0
    while True:
        head = _SEARCH.pack(
            _QUOTA_TREE, 0, 0, offset, _MOST, 0, _MOST, kind, _GROUP_LIMIT, 1 << 20, 0, 0, 0, 0, 0,
            _SEARCH_BYTES,
        )  # fmt: skip
        about = f"reading the quotas of {pool}"
        answer = _call(pool, _TREE_SEARCH_V2, head + bytes(_SEARCH_BYTES), about)
        count = _SEARCH.unpack_from(answer)[9]
        if count == 0:
            return
        place = _SEARCH.size
        for _ in range(count):
            _, _, offset, kind, length = _HEADER.unpack_from(answer, place)
            place += _HEADER.size
            yield kind, offset, bytes(answer[place : place + length])
            place += length
        offset += 1


def group_of(uid: int) -> int:
    """A container's quota group is ``1/<uid>``: level 1, so that it spans nested subvolumes."""
    return 1 << 48 | uid


def uid_of(group: int) -> int | None:
    """Whose group it is; None for a group that is no container's."""
    return group & 0xFFFFFFFF if group >> 48 == 1 else None


def create_group(pool: Path, group: int) -> None:
    _qgroup(pool, _QGROUP_CREATE, struct.pack("2Q", 1, group), errno.EEXIST)


def remove_group(pool: Path, group: int) -> None:
    """Remove a quota group; one that is gone or still has members is left."""
    data = struct.pack("2Q", 0, group)
    _qgroup(pool, _QGROUP_CREATE, data, errno.ENOENT, errno.EBUSY, errno.EINVAL)


def assign(pool: Path, subvolume: int, group: int) -> None:
    _qgroup(pool, _QGROUP_ASSIGN, struct.pack("3Q", 1, subvolume, group), errno.EEXIST)


def limit(pool: Path, group: int, limit_bytes: int) -> None:
    data = struct.pack("6Q", group, _LIMIT_REFERENCED, limit_bytes, 0, 0, 0)
    _qgroup(pool, _QGROUP_LIMIT, data)


def _qgroup(pool: Path, request: int, data: bytes, *harmless: int) -> None:
    try:
        _call(pool, request, data, f"quota group in {pool}")
    except StorageError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in harmless:
            raise
