"""Opens what lies below a directory that a customer can write: in one step, and without links."""

import ctypes
import errno
import os
import stat
from pathlib import Path

from insula.emperor.errors import KernelError

_SYS_OPENAT2 = 437
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_IN_ROOT = 0x10
# What open says of a path that leads to no file: nothing there, a link in circles, a socket.
_ABSENT = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG, errno.ENXIO}
)


class _OpenHow(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


_LIBC = ctypes.CDLL(None, use_errno=True)


def open_beneath(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """Open ``path`` below the descriptor ``directory``; no link, ``..`` or mount leads out of it.

    Never waits: not for a pipe's other end, nor until a customer gives back a lease (fcntl(2)).
    Raises KernelError whose ``__cause__`` is the OSError.
    """
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV
    return _open(directory, path, flags | os.O_NONBLOCK, mode, resolve)


def open_regular(directory: int, path: str, *, owner: int | None = None) -> int:
    """Open a regular file for reading that has this one name; with ``owner``, only its own.

    A second name could be one of somebody else's file. Raises KernelError.
    """
    fd = open_beneath(directory, path, os.O_RDONLY | os.O_NOCTTY)
    found = os.fstat(fd)
    is_plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    if is_plain and owner in (None, found.st_uid):
        return fd
    os.close(fd)
    raise KernelError(f"{path}: is not a plain file of its owner's, refusing to read it")


def read_own(path: Path) -> bytes | None:
    """The bytes of a plain file that is our own; None when it is another thing, or another's.

    Its directory is root's. Raises OSError. Never waits: a file's owner can hold a lease on it, and
    whoever opens the file waits for 45 s then, unless it says that it will not.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except BlockingIOError:
        return None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        is_own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        return file.read() if is_own else None


def read_in_root(tree: Path, path: str, limit: int, *, offset: int = 0) -> bytes | None:
    """At most ``limit`` bytes of a regular file in a tree; None when it is not there or no file.

    Links are followed as if ``tree`` were the root, so none leads out of a tree that others made.
    Raises KernelError when nobody can say: no descriptor is left, the disk fails.
    """
    top = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # nonblock: a pipe in its place must not hold us
        flags, resolve = os.O_RDONLY | os.O_NONBLOCK, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
        fd = _open(top, path, flags, 0, resolve)
    except KernelError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno not in _ABSENT:
            raise
        return None
    finally:
        os.close(top)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        file.seek(offset)
        return file.read(limit)


def _open(directory: int, path: str, flags: int, mode: int, resolve: int) -> int:
    if flags & os.O_PATH:
        flags &= ~os.O_NONBLOCK  # it opens nothing, and openat2 knows no such pair
    how = _OpenHow(flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0, resolve)
    fd = int(
        _LIBC.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(directory),
            os.fsencode(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
    )
    if fd < 0:
        cause = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        raise KernelError(
            f"opening {path} without following links: {cause.strerror}",
            "a link or a mount stands in the way, or the kernel is older than 5.6",
        ) from cause
    return fd
