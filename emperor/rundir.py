"""The run directory: a tmpfs with the places where sockets, keys and namespaces appear."""

import os
import stat
from pathlib import Path

from insula.emperor.command import run
from insula.emperor.kernel import mounts
from insula.emperor.settings import COLLECTOR_UID, DOMINATOR_UID, NODE_GID, ROUTER_UID, Paths
from insula.vassals.identity import API_UID

# Traces are the largest part: about 128 KiB a container and writer, kept short by the writers.
_RUN_OPTIONS = "mode=0755,size=256m,nr_inodes=200k,nosuid,nodev"
_DEV_OPTIONS = "mode=0755,size=64k,nosuid,noexec"
_NODES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "tty": (5, 0),
}  # fmt: skip
_LINKS = {
    "ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
}  # fmt: skip


def directories(paths: Paths) -> list[tuple[Path, int, int, int]]:
    """Every directory of the run tmpfs as (path, mode, owner, group), parents first."""
    trace = paths.run / "trace"
    return [
        (paths.run / "netns", 0o755, 0, 0),
        (paths.run / "cgroups", 0o755, 0, 0),
        (paths.run / "keys", 0o711, 0, 0),
        (paths.run / "subscribe", 0o755, 0, 0),
        (paths.roots, 0o711, 0, 0),
        (paths.empty, 0o555, 0, 0),
        (paths.apps, 0o711, 0, 0),
        # Inside, the API makes its sockets there; outside only root (and the daemons) may enter.
        (paths.api_operator, 0o700, API_UID, API_UID),
        (paths.api_node, 0o750, API_UID, NODE_GID),
        # Set-gid: what root's uWSGI binds there is the router's group's; the dominator is in it.
        (paths.router, 0o2711, ROUTER_UID, ROUTER_UID),
        # Apart, for the collector: it may ask for figures, never announce a route.
        (paths.router_stats, 0o2710, ROUTER_UID, NODE_GID),
        (paths.dominator, 0o755, DOMINATOR_UID, DOMINATOR_UID),
        (paths.collector, 0o755, COLLECTOR_UID, COLLECTOR_UID),
        # Each daemon makes a file of its own; sticky, so none touches another's.
        (paths.beats, 0o1770, 0, NODE_GID),
        (trace, 0o755, 0, 0),
        (trace / "configurator", 0o755, 0, 0),
        (trace / "boot", 0o755, 0, 0),
        (trace / "dominator", 0o755, DOMINATOR_UID, DOMINATOR_UID),
    ]


def make(paths: Paths) -> None:
    """Mount and fill the run directory; what is there already stays as it is."""
    paths.run.mkdir(mode=0o755, parents=True, exist_ok=True)
    if paths.run not in mounts.points():
        run(["mount", "--types=tmpfs", f"--options={_RUN_OPTIONS}", "insula", str(paths.run)])
        # Namespaces and roots that are mounted below must not spread to other mount namespaces.
        run(["mount", "--make-private", str(paths.run)])
    for path, mode, owner, group in directories(paths):
        directory(path, mode=mode, owner=owner, group=group)
    make_dev(paths.dev)


def make_dev(dev: Path) -> None:
    """The /dev that every container gets: six harmless nodes, five links, two mount points."""
    dev.mkdir(mode=0o755, exist_ok=True)
    if dev not in mounts.points():
        run(["mount", "--types=tmpfs", f"--options={_DEV_OPTIONS}", "insula-dev", str(dev)])
    for name, (major, minor) in _NODES.items():
        node = dev / name
        if not node.exists():
            mounts.character_device(node, major, minor)
    for name, target in _LINKS.items():
        if not (dev / name).is_symlink():
            (dev / name).symlink_to(target)
    for name in ("pts", "shm"):
        (dev / name).mkdir(mode=0o755, exist_ok=True)


def directory(path: Path, *, mode: int, owner: int = 0, group: int = 0) -> None:
    """Make a directory of the platform's, or correct its rights."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if (found.st_uid, found.st_gid) != (owner, group):
        os.chown(path, owner, group, follow_symlinks=False)
    if stat.S_IMODE(found.st_mode) != mode:
        path.chmod(mode)
