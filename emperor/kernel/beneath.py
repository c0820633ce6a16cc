"""The one module for what root does below a directory that a customer can write.

A customer may swap any name below its home for a link at any moment, so root never walks such a
path by name. openat2(2) resolves it in the kernel in one step and refuses links and ``..``.
"""

import ctypes
import os
import stat
from pathlib import Path

from insula.emperor.errors import KernelError

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_IN_ROOT = 0x10


class _OpenHow(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


_LIBC = ctypes.CDLL(None, use_errno=True)


def open_beneath(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """Open ``path`` below the descriptor ``directory``; no link, no ``..`` leads out of it.

    Raises KernelError whose ``__cause__`` is the OSError.
    """
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    return _open(directory, path, flags, mode, resolve)


def read_in_root(tree: Path, path: str, limit: int) -> bytes | None:
    """At most ``limit`` bytes of a regular file in a tree; None when it is not there or no file.

    Links are followed as if ``tree`` were the root, so none leads out of a tree that others made.
    """
    top = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # nonblock: a pipe in its place must not hold us
        flags, resolve = os.O_RDONLY | os.O_NONBLOCK, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
        fd = _open(top, path, flags, 0, resolve)
    except KernelError:
        return None
    finally:
        os.close(top)
    with os.fdopen(fd, "rb") as file:
        return file.read(limit) if stat.S_ISREG(os.fstat(fd).st_mode) else None


def _open(directory: int, path: str, flags: int, mode: int, resolve: int) -> int:
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
            "a link stands in the way, or the kernel is older than 5.6",
        ) from cause
    return fd


def make_directory(directory: int, path: str, *, mode: int, uid: int, gid: int) -> None:
    """Make ``path`` below ``directory`` with its rights; one that is there keeps what is in it.

    Its parent must exist. Raises KernelError.
    """
    parent, _, name = path.rpartition("/")
    above = open_beneath(directory, parent or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            pass
        made = open_beneath(above, name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # In this order: chown clears the set-group-id bit.
            os.fchown(made, uid, gid)
            os.fchmod(made, mode)
        finally:
            os.close(made)
    finally:
        os.close(above)
