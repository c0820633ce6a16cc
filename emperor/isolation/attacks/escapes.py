"""Attacks that leave the container's root: by what is left of the machine's, and by descriptors."""

import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import syscalls
from insula.emperor.isolation.attacks.contract import Held, Targets, any_of, attack

_PEER = struct.Struct("=3i")
_STEPS_UP = 64


def _mark(targets: Targets) -> str:
    """A directory of the machine's that everybody there can see."""
    return f"{targets.machine.root.rstrip('/')}/var/lib/insula"


def _see(path: str) -> str:
    os.stat(path)
    return f"{path} is in sight"


@attack
def leave_by_old_root(targets: Targets) -> str:
    """What is left below the mount point of the old root, and links that skip names."""
    mark = _mark(targets)
    ways = ["", "/.old_root", "/proc/self/root/..", "/proc/self/cwd/../../../../..", "/run/../.."]
    processes = [name for name in os.listdir("/proc") if name.isdecimal()]
    ways += [f"/proc/{name}/{link}" for name in {"1", *processes} for link in ("root", "cwd/../..")]
    return any_of([partial(_see, way + mark) for way in ways])


@attack
def leave_by_chroot(targets: Targets) -> str:
    """A root below our own, a directory left open above it, and up from there."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        above = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        below = Path(place, "below")
        below.mkdir()
        # the process ends there: nobody is left behind in it
        os.chroot(below)
        os.fchdir(above)
        for _ in range(_STEPS_UP):
            os.chdir("..")
        os.chroot(".")
    return _see(_mark(targets))


@attack
def use_inherited_descriptor(targets: Targets) -> str:
    """In each process of ours: directories and files that are out of sight, sockets to others."""
    found = list(_descriptors())
    return any_of([partial(_outside, targets, pid, number) for pid, number in found])


def _descriptors() -> Iterator[tuple[int, int]]:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == os.getuid():
                yield from ((int(name), int(number)) for number in os.listdir(f"/proc/{name}/fd"))


def _outside(targets: Targets, pid: int, number: int) -> str:
    place = f"/proc/{pid}/fd/{number}"
    what = f"descriptor {number} of {pid}"
    mode = os.stat(place).st_mode
    if stat.S_ISDIR(mode):
        return _directory(what, place)
    # 0, 1 and 2 lead to where a command came from: the door, or where an operator sends its words
    if stat.S_ISREG(mode) and number > 2:
        return _file(what, place)
    if stat.S_ISSOCK(mode) and number > 2:
        return _peer(targets, what, pid, number)
    raise Held("the descriptors of our processes lead to nothing of the machine")


def _directory(what: str, place: str) -> str:
    """Whoever goes up from a directory inside ends at our root."""
    opened = os.open(place, os.O_PATH | os.O_DIRECTORY)
    for _ in range(_STEPS_UP):
        above = os.open("..", os.O_PATH | os.O_DIRECTORY, dir_fd=opened)
        is_top = os.path.sameopenfile(above, opened)
        os.close(opened)
        opened = above
        if is_top:
            break
    top, ours = os.fstat(opened), os.stat("/")
    os.close(opened)
    if (top.st_dev, top.st_ino) == (ours.st_dev, ours.st_ino):
        raise Held("our directories lie below our root")
    return f"{what} is a directory outside of our root"


def _file(what: str, place: str) -> str:
    name, opened = os.readlink(place), os.stat(place)
    with suppress(OSError):
        if os.path.samestat(opened, os.stat(name)):
            raise Held("our open files are in sight")
    if not opened.st_nlink:
        raise Held("an open file has no name any more")
    return f"{what} is {name}, which is out of sight"


def _peer(targets: Targets, what: str, pid: int, number: int) -> str:
    process = os.pidfd_open(pid)
    taken = socket.socket(fileno=syscalls.call("pidfd_getfd", process, number, 0))
    os.close(process)
    with taken:
        if taken.family != socket.AF_UNIX:
            raise Held("our sockets are our own")
        peer = taken.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(peer)
    if uid in (targets.own.uid, -1):
        raise Held("our sockets lead to ourselves")
    return f"{what} is a connection to a process of uid {uid}"


@attack
def start_crash_handler(_targets: Targets) -> str:
    """The machine's root runs what core_pattern pipes to, with our memory as its input (core(5)).

    A core that was dumped, to a handler or to a file, is told by wait(2).
    """
    with tempfile.TemporaryDirectory() as place:
        child = subprocess.Popen(["/bin/sleep", "60"], cwd=place, preexec_fn=_want_cores)
        child.send_signal(signal.SIGABRT)
        status = os.waitpid(child.pid, 0)[1]
        child.returncode = status
    if os.WCOREDUMP(status):
        return "the kernel dumped our core"
    raise Held(f"no core at a limit of {resource.getrlimit(resource.RLIMIT_CORE)[1]} bytes")


def _want_cores() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
