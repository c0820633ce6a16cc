"""Files that another process watches or that must survive a crash whole."""

import contextlib
import os
import stat
from pathlib import Path

from insula.emperor.errors import KernelError


def write_atomic(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o644,
    owner: int = 0,
    group: int = 0,
    lasting: bool = False,
) -> bool:
    """Put ``data`` at ``path`` whole or not at all; return False when it was there already.

    The directory must be the platform's own, never one a customer can write. A temporary file
    beside it (its name starts with a dot) is fsynced and renamed over, mode and owner set before.
    With ``lasting`` it is on the disk when this returns: for what nobody could tell us again.
    Raises OSError (with the target's name), and KernelError when the target is no regular file.
    """
    try:
        before = os.lstat(path)
    except FileNotFoundError:
        before = None
    if before is not None:
        if not stat.S_ISREG(before.st_mode):
            raise KernelError(f"{path}: is not a regular file, refusing to replace it")
        same_rights = (stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid) == (
            mode,
            owner,
            group,
        )
        if same_rights and before.st_size == len(data) and path.read_bytes() == data:
            return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner, group)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(temporary, path)
        if lasting:
            _sync_directory(path.parent)
    except OSError as error:
        _forget(temporary)
        # The number tells what is wrong, but a full disk without a name helps nobody.
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        _forget(temporary)
        raise
    return True


def _forget(temporary: Path) -> None:
    # On a read-only file system nothing was made, and nothing can be removed.
    with contextlib.suppress(OSError):
        temporary.unlink()


def _sync_directory(directory: Path) -> None:
    """A rename is whole after a power cut, but only this makes it last."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
