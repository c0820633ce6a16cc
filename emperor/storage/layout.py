"""The directories of a container in the pool, with the rights each one needs."""

import os
from collections.abc import Callable
from pathlib import Path

from insula.emperor.errors import KernelError, StorageError
from insula.emperor.kernel.beneath import hold
from insula.emperor.settings import ROUTER_UID, Paths

# The router passes through to the sockets; nobody but root lists who is there.
_POOL_MODE = 0o711


def prepare_pool(paths: Paths) -> None:
    """Make the pool's own directories."""
    for path in (paths.distros, paths.containers, paths.removed):
        path.mkdir(parents=True, exist_ok=True)
        os.chmod(path, 0o700 if path == paths.removed else _POOL_MODE)
    os.chmod(paths.distros, 0o755)


def fill(container: Path, uid: int) -> None:
    """Make home, tmp and sockets in a container's new directory, which is still root's alone."""
    with hold(container) as held:
        os.fchown(held.fd, 0, 0)
        os.fchmod(held.fd, 0o711)
        held.make_directory("home", mode=0o700, uid=0, gid=0)
        for name, mode in (("vassals", 0o755), ("logs", 0o755), (".ssh", 0o700)):
            held.make_directory(f"home/{name}", mode=mode, uid=uid, gid=uid)
        held.make_directory("home", mode=0o750, uid=uid, gid=uid)
        held.make_directory("tmp", mode=0o1777, uid=uid, gid=uid)
        # The group keeps its bit, so each socket made here is the router's to open.
        held.make_directory("sockets", mode=0o2730, uid=uid, gid=ROUTER_UID)


def unfinished(paths: Paths, uid: int) -> Path:
    """Where a container is built before its rename makes it visible."""
    return paths.containers / f".{uid}"


def aside(paths: Paths, uid: int, at: float) -> Path:
    """A free name below ``removed``; two removals in one second do not meet."""
    moment = int(at)
    while (path := paths.removed / f"{uid}-{moment}").exists():
        moment += 1
    return path


def remove_tree(tree: Path, *, entered: Callable[[int], None] | None = None) -> None:
    """Delete a tree that nobody uses any more, as deep as a customer made it.

    What is not there counts as deleted. Raises StorageError.
    """
    if not tree.parent.is_dir():
        return
    try:
        with hold(tree.parent) as above:
            above.remove(tree.name, entered=entered)
    except KernelError as error:
        raise StorageError(
            f"deleting {tree}: {error.message}", error.hint or "look at it by hand"
        ) from error


def check_free(path: Path, wanted_bytes: int) -> int:
    """The free bytes of a file system. Raises StorageError below ``wanted_bytes``."""
    state = os.statvfs(path)
    free = state.f_bavail * state.f_frsize
    if free < wanted_bytes:
        raise StorageError(
            f"{path} has {free >> 20} MiB free, {wanted_bytes >> 20} MiB are needed",
            "free some space, or put the node on a larger disk with --root",
        )
    return free
