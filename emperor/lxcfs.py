"""Runs lxcfs, which shows each container its own memory, load and uptime in /proc.

It is a FUSE daemon: when it ends, every file that it serves answers "not connected". So whatever
the end was, the next start first takes those files away from the running containers (the kernel's
own show again), and lays the new ones over when they are there. Containers that boot in between do
without until then.
"""

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from insula.emperor import settings
from insula.emperor.errors import KernelError, PreparationError
from insula.emperor.kernel import cgroup, covers, lxcfs_group, mounts, namespaces, privileges
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError

PROGRAM = Path("/usr/bin/lxcfs")
DEVICE = Path("/dev/fuse")
# What container.ini covers at boot; slabinfo, which lxcfs has too, is masked there.
FILES = ("cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime")
_READY_SECONDS = 20.0
_BOOT_SECONDS = 15.0


def lack(*, program: Path = PROGRAM, device: Path = DEVICE) -> str:
    """Why lxcfs cannot run on this machine; empty when it can."""
    if not program.exists():
        return f"{program} is not installed"
    if not device.exists():
        return f"there is no {device}"
    return ""


def serves(node: Node) -> bool:
    """True when lxcfs is mounted and answers. A dead one leaves its mount behind."""
    if mounts.points().get(node.paths.lxcfs) != covers.KIND:
        return False
    try:
        (node.paths.lxcfs / "proc/meminfo").stat()
    except OSError:
        return False
    return True


def start(node: Node) -> None:
    """Tidy up after the last one and become lxcfs. Raises InsulaError, does not return."""
    paths = node.paths
    if reason := lack():
        raise PreparationError(reason, "apt-get install lxcfs, modprobe fuse, then bin/up")
    while paths.lxcfs in mounts.points():
        mounts.unmount(paths.lxcfs, lazy=True)
    for uid in _containers(node):
        _try(node, uid, cover=False)
    paths.lxcfs.mkdir(mode=0o755, exist_ok=True)
    _fork_away(node)
    # One that outlived its Emperor would serve an old mount for ever.
    privileges.end_with_parent(signal.SIGTERM)
    with suppress(OSError):
        # The machine's last to be killed for memory: all containers read from it.
        Path("/proc/self/oom_score_adj").write_text("-900")
    lxcfs_group.join(lxcfs_group.paths_of(cgroup.detect(node.cgroup_name)))
    pid_file = paths.run / "lxcfs.pid"
    os.execve(
        PROGRAM,
        [str(PROGRAM), "-f", "--enable-loadavg", "--enable-cfs", "-p", str(pid_file),
         str(paths.lxcfs)],
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip


def _containers(node: Node) -> list[int]:
    directory = node.paths.cgroups(0).parent
    return sorted(int(item.name) for item in directory.glob("[0-9]*") if item.name.isdecimal())


def _fork_away(node: Node) -> None:
    """Leave a process behind that covers /proc in the running containers, and ends."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        # Twice, so that lxcfs, which knows of no children, has none to bury.
        if os.fork() == 0:
            _cover_all(node)
    finally:
        os._exit(0)


def _cover_all(node: Node) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not serves(node):
        if time.monotonic() > deadline:
            print("lxcfs does not come up: containers see the machine's figures", file=sys.stderr)
            return
        time.sleep(0.05)
    # A container that boots right now may have looked before lxcfs was there.
    waiting, deadline = _containers(node), time.monotonic() + _BOOT_SECONDS
    while waiting and time.monotonic() < deadline:
        waiting = [uid for uid in waiting if not _try(node, uid, cover=True)]
        time.sleep(0.3)


def _try(node: Node, uid: int, *, cover: bool) -> bool:
    """Cover or uncover one container's files; False when it does not run, or not yet."""
    try:
        door = namespaces.find(node.paths.cgroups(uid), uid=uid)
    except KernelError:
        return False
    try:
        if cover:
            covers.cover(door, node.paths.lxcfs / "proc", FILES)
        else:
            covers.uncover(door)
    except (KernelError, OSError) as error:
        print(f"container {uid}: lxcfs: {error}", file=sys.stderr)
        return False
    finally:
        os.close(door.pidfd)
    return True


def main() -> int:
    """The attached daemon's entry point."""
    parser = argparse.ArgumentParser(prog="insula-lxcfs", description=__doc__)
    parser.add_argument("--root", type=Path, default=settings.root_from_environment())
    try:
        start(settings.load(parser.parse_args().root.resolve()))
    except InsulaError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"({error.hint})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
