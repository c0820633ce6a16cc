"""Taking all of what the kernel has in tables of a fixed size, and finding out who lacks what.

The neighbour's side of it is `needs`: what every app asks for now and then.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import IO

from insula.emperor.isolation.attacks.resources import open_terminals, wait_in_child

_LIBC = ctypes.CDLL(None, use_errno=True)
_IO_SETUP = 0 if os.uname().machine == "aarch64" else 206
# fifteen times what a machine has by default, and 30 MiB of a container's memory
_AIO_EVENTS, _AIO_QUEUES = 60_000, 16
_FILES_EACH = 500
_BLOCK = 1 << 20


def needs() -> dict[str, str]:
    """What an app needs and does not get, with the kernel's answer."""
    lacking = {}
    for name, need in _NEEDS.items():
        try:
            need()
        except (OSError, MemoryError) as error:
            lacking[name] = str(error)
    return lacking


def starve_until_told() -> None:
    """Take all, say in one line what is lacking here, keep it until standard input ends."""
    reader, writer = os.pipe()
    children: list[int] = []
    with contextlib.ExitStack() as stack:
        # room for what follows, given back before the files are taken
        spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]
        _take_queues()
        stack.callback(_close_queues)
        _until_refused(_inotify)
        open_terminals(most=10_000)
        _fill_disk(stack)
        _until_refused(lambda: children.append(wait_in_child(reader, writer, _open_files)))
        for fd in spare:
            os.close(fd)
        print(json.dumps(needs()), flush=True)
        sys.stdin.read()
    os.close(writer)
    os.close(reader)
    for child in children:
        os.waitpid(child, 0)


def _until_refused(take: Callable[[], object], *, most: int = 1_000_000) -> None:
    with contextlib.suppress(OSError):
        for _ in range(most):
            take()


def _open_files() -> None:
    _until_refused(lambda: os.open("/dev/null", os.O_RDONLY), most=_FILES_EACH)


def _fill_disk(stack: contextlib.ExitStack) -> None:
    # without a name: it is gone with us, also when we are killed
    file = stack.enter_context(tempfile.TemporaryFile(dir=os.environ["HOME"], buffering=0))
    block = os.urandom(_BLOCK)
    _until_refused(lambda: _write_whole(file, block))


def _write_whole(file: IO[bytes], block: bytes) -> None:
    if file.write(block) != len(block):
        raise OSError("written short")


# ---- what an app needs ---------------------------------------------------------------------------


def _process() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _files() -> None:
    for fd in [os.open("/dev/null", os.O_RDONLY) for _ in range(32)]:
        os.close(fd)


def _socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=2).close()


def _terminal() -> None:
    for fd in os.openpty():
        os.close(fd)


def _inotify() -> int:
    fd = int(_LIBC.inotify_init1(os.O_CLOEXEC))
    if fd < 0:
        raise _error("inotify_init1")
    return fd


def _watch() -> None:
    os.close(_inotify())


def _asynchronous() -> None:
    _LIBC.syscall(_IO_SETUP + 1, _new_queue(128))


def _disk() -> None:
    with tempfile.TemporaryFile(dir=os.environ["HOME"], buffering=0) as file:
        _write_whole(file, os.urandom(_BLOCK))
        os.fsync(file.fileno())


def _shared_memory() -> None:
    with tempfile.TemporaryFile(dir="/dev/shm", buffering=0) as file:
        file.write(b"\1" * _BLOCK)


def _lock() -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)


def _pipe() -> None:
    """Of the usual size: who has used up its share of the pages gets a smaller one."""
    ends = os.pipe()
    size = fcntl.fcntl(ends[1], fcntl.F_GETPIPE_SZ)
    for fd in ends:
        os.close(fd)
    if size < 16 * resource.getpagesize():
        raise OSError(f"a pipe of {size} bytes alone")


_NEEDS: dict[str, Callable[[], None]] = {
    "a process": _process, "open files": _files, "a connection": _socket, "a terminal": _terminal,
    "an inotify instance": _watch, "asynchronous input and output": _asynchronous,
    "room on the disk": _disk, "shared memory": _shared_memory, "a lock": _lock, "a pipe": _pipe,
}  # fmt: skip


# ---- asynchronous input and output, io_setup(2) --------------------------------------------------

_AIO: list[ctypes.c_ulong] = []


def _take_queues() -> None:
    """Large ones first, then what is left of the machine's fs.aio-max-nr."""
    events = _AIO_EVENTS
    while events and len(_AIO) < _AIO_QUEUES:
        try:
            _AIO.append(_new_queue(events))
        except OSError:
            events //= 2


def _new_queue(events: int) -> ctypes.c_ulong:
    queue = ctypes.c_ulong(0)
    if _LIBC.syscall(_IO_SETUP, events, ctypes.byref(queue)) != 0:
        raise _error("io_setup")
    return queue


def _close_queues() -> None:
    for queue in _AIO:
        _LIBC.syscall(_IO_SETUP + 1, queue)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
