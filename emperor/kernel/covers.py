"""Files bound over those of /proc in containers that run already, and taken away again."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from insula.emperor.errors import KernelError
from insula.emperor.kernel import libc, mounts
from insula.emperor.kernel.namespaces import CLONE_NEWNS, Doorway

KIND = "fuse.lxcfs"
# The same on every machine, as are all calls from 424 on.
_OPEN_TREE, _MOVE_MOUNT = 428, 429
_AT_FDCWD = -100
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_PROC = Path("/proc")


def covered(pid: int, *, proc: Path = _PROC) -> list[Path]:
    """What is covered in the mount namespace of a process; twice when it is covered twice."""
    found = []
    for line in (proc / str(pid) / "mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        path = Path(left.split(" ")[4])
        if right.split(" ")[0] == KIND and path.parent == _PROC:
            found.append(path)
    return found


def cover(door: Doorway, source: Path, names: Iterable[str]) -> int:
    """Bind ``source``/name over /proc/name in a container where it is not yet; return how many.

    Raises KernelError when ``source`` has no such file, or nothing answers behind it.
    """
    present = covered(door.pid)
    missing = [name for name in names if _PROC / name not in present]
    # Taken outside, as a mount that is nowhere yet, and put down inside (open_tree(2)).
    taken = {_PROC / name: _take(source / name) for name in missing}
    try:
        _inside(door, partial(_put_all, taken))
    finally:
        for tree in taken.values():
            os.close(tree)
    return len(missing)


def uncover(door: Doorway) -> int:
    """Take every cover of a container away, so that the kernel's own files show; how many."""
    present = covered(door.pid)
    if present:
        _inside(door, partial(_unmount_all, present))
    return len(present)


def _take(path: Path) -> int:
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    return libc.call(
        "syscall", _OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags, about=f"taking {path}"
    )


def _put_all(taken: Mapping[Path, int]) -> None:
    for target, tree in taken.items():
        libc.call(
            "syscall", _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target),
            _MOVE_MOUNT_F_EMPTY_PATH, about=f"covering {target}",
        )  # fmt: skip


def _unmount_all(paths: Iterable[Path]) -> None:
    for path in paths:
        mounts.unmount(path, lazy=True)


def _inside(door: Doorway, act: Callable[[], None]) -> None:
    """Do something in a container's mount namespace, where / and /proc are root's own.

    A child does it: who has joined a mount namespace stays there. Raises KernelError.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            libc.call("setns", door.pidfd, CLONE_NEWNS, about=f"entering container {door.uid}")
            act()
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1] != 0:
        raise KernelError(f"container {door.uid}: its /proc could not be changed")
