"""Deletes a customer's tree by descriptors: however deep it is, and whoever still writes in it."""

import os
import stat
from array import array
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from errno import EBUSY, ELOOP, ENOENT, ENOTDIR, ENOTEMPTY, EXDEV

from insula.emperor.errors import KernelError
from insula.emperor.kernel.beneath.opening import open_beneath

# Directories that fill again so often, and nothing is deleted: somebody works against us.
_PATIENCE = 1000
# For so many levels above, what is left to delete is remembered; others are read again.
_REMEMBERED = 1000
_AT_ONCE = 1000

Entered = Callable[[int], None]


def remove_tree(parent: int, name: str, *, entered: Entered | None = None) -> None:
    """Delete ``name`` in the directory ``parent`` with all below; what is not there is deleted.

    Follows no link and crosses no mount: one inside ends it. Nesting has no limit, since one
    directory is open at a time. ``entered`` is called with each directory before it is emptied.
    Raises KernelError; what is gone by then stays gone.
    """
    try:
        if not _is_directory(parent, name):
            os.unlink(name, dir_fd=parent)
            return
        _Removal(entered).empty(parent, name)
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno == ENOENT and not _is_there(parent, name):
            return
        hint = "something is mounted there: unmount it" if error.errno in (EBUSY, EXDEV) else None
        raise KernelError(f"deleting {error.filename or name!r}: {error.strerror}", hint) from error


class _Removal:
    """One walk, depth first. ``here`` is the one open directory; those above are known by inode."""

    def __init__(self, entered: Entered | None) -> None:
        self.entered = entered
        self.here = -1
        self.is_back = False
        self.trail = array("Q")
        self.left: deque[list[str]] = deque(maxlen=_REMEMBERED)
        self.failures = 0

    def empty(self, parent: int, name: str) -> None:
        """Delete all below a directory."""
        self.here = self._enter(parent, name)
        try:
            while self._goes_on():
                continue
        finally:
            os.close(self.here)

    def _goes_on(self) -> bool:
        """One step: down, or delete what was emptied, or up. False when the top is empty."""
        if not self.left:
            self.left.append([])
        names = self.left[-1]
        if self.is_back and names:
            self._remove(names.pop())
        self.is_back = False
        if not names:
            names += self._clear()
        if not names:
            return self._up()
        try:
            self._down(self._enter(self.here, names[-1]))
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR, ELOOP):
                raise
            self._lose_patience(names[-1])
            names.clear()  # it is another thing by now: look again
        return True

    def _down(self, below: int) -> None:
        found = os.fstat(self.here)
        self.trail.extend((found.st_dev, found.st_ino))
        self.left.append([])
        os.close(self.here)
        self.here = below

    def _up(self) -> bool:
        self.left.pop()
        if not self.trail:
            return False
        above = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.here)
        os.close(self.here)
        self.here = above
        found = os.fstat(above)
        inode, device = self.trail.pop(), self.trail.pop()
        if (found.st_dev, found.st_ino) != (device, inode):
            raise KernelError("a directory was moved while it was deleted", "try again")
        self.is_back = True
        return True

    def _enter(self, parent: int, name: str) -> int:
        try:
            fd = open_beneath(parent, name, os.O_RDONLY | os.O_DIRECTORY)
        except KernelError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise
        if self.entered is not None:
            self.entered(fd)
        # From here on nobody else can put anything in it, also through a descriptor of old. Without
        # room on the disk this fails, and so does whoever would put something in.
        with suppress(OSError):
            os.fchown(fd, 0, 0)
            os.fchmod(fd, 0o700)
        return fd

    def _remove(self, name: str) -> None:
        """Delete a directory that was emptied; one that is full again is met again."""
        try:
            os.rmdir(name, dir_fd=self.here)
            self.failures = 0
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (ENOTEMPTY, ENOTDIR):
                raise
            self._lose_patience(name)

    def _lose_patience(self, name: str) -> None:
        self.failures += 1
        if self.failures > _PATIENCE:
            raise KernelError(f"{name!r} fills again as it is deleted", "who writes in it?")

    def _clear(self) -> list[str]:
        """Delete all here that is no directory; the names of some that are, if there are any."""
        found: list[str] = []
        is_empty = False
        while not found and not is_empty:
            is_empty = True
            with os.scandir(self.here) as entries:
                for entry in entries:
                    is_empty = False
                    if not entry.is_dir(follow_symlinks=False):
                        self._unlink(entry.name)
                    elif len(found) < _AT_ONCE:
                        found.append(entry.name)
        return found

    def _unlink(self, name: str) -> None:
        # What was changed this moment, the next look sees as it is.
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(name, dir_fd=self.here)
            self.failures = 0


def _is_there(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_directory(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
