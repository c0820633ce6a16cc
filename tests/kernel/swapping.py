"""A customer who works against root: it swaps names as fast as it can, in a process of its own."""

import fcntl
import mmap
import os
import signal
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from insula.emperor.errors import KernelError
from insula.emperor.kernel import libc, privileges

UID = 30001
RENAME_EXCHANGE = 2
_COUNT = struct.Struct("Q")
Count = Callable[[], int]


@contextmanager
def busy(directory: Path, act: Callable[[], None], *, uid: int = UID) -> Iterator[Count]:
    """Let ``uid`` do something in a directory again and again; how often it has, is told.

    An ``act`` that fails is tried again: root may just have taken away what it needs.
    """
    counter = mmap.mmap(-1, _COUNT.size)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(directory)  # as root: the directories above are not the customer's
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            privileges.end_with_parent(signal.SIGKILL)
            done = 0
            while True:
                with suppress(OSError, KernelError):
                    act()
                    done += 1
                    counter[:] = _COUNT.pack(done)
        finally:
            os._exit(1)
    try:
        yield lambda: int(_COUNT.unpack(counter[:])[0])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        counter.close()


@contextmanager
def swapping(directory: Path, name: str, *others: str, uid: int = UID) -> Iterator[Count]:
    """``name`` becomes each of ``others`` in turn, in one step each (renameat2, EXCHANGE)."""

    def swap() -> None:
        for other in others:
            exchange(name, other)

    with busy(directory, swap, uid=uid) as count:
        yield count


def exchange(one: str, other: str) -> None:
    """Swap two names of the current directory."""
    here = -100  # AT_FDCWD
    libc.call(
        "renameat2", here, one.encode(), here, other.encode(), RENAME_EXCHANGE, about="swapping"
    )


def lease(path: str) -> None:
    """Hold a lease on a file of one's own: whoever else opens it, to read it too, has to wait."""
    fd = os.open(path, os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    signal.pause()


SECRET = "the machine's own secret"


class Canary:
    """A directory of root's with a secret file, and a way to see whether it is as it was."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(mode=0o700)
        for name in ("secret", "emperor.log"):
            (place / name).write_text(SECRET)
        self.before = self.look()

    def look(self) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for path in sorted([self.place, *self.place.rglob("*")]):
            seen = path.lstat()
            found.append((path, seen.st_ino, seen.st_mode, seen.st_uid, seen.st_gid, seen.st_size))
        return found

    def is_untouched(self) -> bool:
        return self.look() == self.before


def lay(home: Path, canary: Canary, name: str) -> Path:
    """One of the things that a customer can put in the place of a name (and two that it cannot)."""
    path = home / name
    match name:
        case "link":
            path.symlink_to(canary.place)
        case "file-link":
            path.symlink_to(canary.place / "secret")
        case "hard-link":
            # Owner and rights are the secret's own; a count of names is no part of the canary.
            os.link(canary.place / "secret", path)
            return path
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        case "device":
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        case "directory":
            path.mkdir()
        case "nothing-long":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case _:
            raise AssertionError(name)
    os.chown(path, UID, UID, follow_symlinks=False)
    return path


def grow(tree: Path, *, breadth: int = 4, depth: int = 3) -> None:
    """A tree of the customer's."""
    tree.mkdir()
    os.chown(tree, UID, UID)
    (tree / "file").write_text("x")
    for number in range(breadth if depth else 0):
        grow(tree / f"d{number}", breadth=breadth, depth=depth - 1)
