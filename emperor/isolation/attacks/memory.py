"""Attacks that take memory: of a process, of none, of the kernel for sockets.

Each process that fills some is the first that the kernel kills when there is no more.
"""

import contextlib
import ctypes
import mmap
import os
import socket
import struct
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks.contract import Held, Targets, any_of, greedy_attack

PAGE_BYTES = 4096
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.shmat.restype = ctypes.c_void_p
_MIB = 1024**2
_CHUNK = b"\1" * 32768
_IPC_PRIVATE, _IPC_CREAT, _IPC_RMID = 0, 0o1000, 0
_SO_MEMINFO = 55


def more_than(limit: int) -> int:
    """What nobody has by accident: a quarter above the limit."""
    return limit * 5 // 4


@greedy_attack
def memory_bomb(targets: Targets) -> str:
    """One process's memory, and the same spread over several."""
    size = more_than(targets.own.memory_bytes)
    return any_of([partial(_have, [size]), partial(_have, [size // 4] * 4)])


@greedy_attack
def shared_memory_bomb(targets: Targets) -> str:
    """Memory of no process: files in /dev/shm and without a name, System V segments."""
    size = more_than(targets.own.memory_bytes)
    fills = (_fill_shm_file, _fill_memory_file, _fill_segment)
    return any_of([partial(_have, [size], fill) for fill in fills])


@greedy_attack
def socket_memory_bomb(targets: Targets) -> str:
    """Memory that the kernel holds for us: what was sent and nobody reads."""
    size = more_than(targets.own.memory_bytes)
    return any_of([partial(_have, [size], fill) for fill in (_fill_unix, _fill_tcp, _fill_udp)])


def _fill_anonymous(size: int) -> object:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return touch(memory, size)


def _fill_shm_file(size: int) -> object:
    fd, name = tempfile.mkstemp(dir="/dev/shm")
    # Without its name it goes with us, also when we are killed.
    os.unlink(name)
    os.ftruncate(fd, size)
    return touch(mmap.mmap(fd, size), size)


def _fill_memory_file(size: int) -> object:
    fd = os.memfd_create("bomb")
    os.ftruncate(fd, size)
    return touch(mmap.mmap(fd, size), size)


def _fill_segment(size: int) -> object:
    identifier = _LIBC.shmget(_IPC_PRIVATE, ctypes.c_size_t(size), _IPC_CREAT | 0o600)
    if identifier < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    address = _LIBC.shmat(identifier, None, 0)
    # from now on it is gone with the last process that has it
    _LIBC.shmctl(identifier, _IPC_RMID, None)
    ctypes.memset(address, 1, size)
    return address


def touch(memory: mmap.mmap, size: int) -> object:
    """Write to each page, so that it is really there."""
    memory[::PAGE_BYTES] = b"\1" * (size // PAGE_BYTES)
    return memory


def _fill_unix(size: int) -> object:
    return _stuff(size, socket.socketpair)


def _fill_tcp(size: int) -> object:
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def pair() -> tuple[socket.socket, socket.socket]:
        client = socket.create_connection(server.getsockname(), timeout=2)
        return client, server.accept()[0]

    return _stuff(size, pair)


def _fill_udp(size: int) -> object:
    held, had, first = [], 0, 0
    while had < size:
        receiver, sender = _udp_pair()
        held.append(receiver)
        with contextlib.suppress(BlockingIOError):
            for _ in range(16):
                sender.send(_CHUNK)
        sender.close()
        # what is dropped is not told: the kernel says how much it holds
        taken = struct.unpack_from("=I", receiver.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64))[0]
        first = first or taken
        had += taken
        _refuse_squeezed(taken, first, had)
    return held


def _udp_pair() -> tuple[socket.socket, socket.socket]:
    receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    receiver.bind(("127.0.0.1", 0))
    sender.connect(receiver.getsockname())
    sender.setblocking(False)
    return receiver, sender


def _stuff(size: int, pair: Callable[[], tuple[socket.socket, socket.socket]]) -> object:
    """Connections into which as much was sent as they take."""
    held, had, first = [], 0, 0
    while had < size:
        ends = pair()
        held.append(ends)
        before = had
        for end in ends:
            end.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while had < size:
                    had += end.send(_CHUNK)
        first = first or had - before
        if had < size:
            _refuse_squeezed(had - before, first, had)
    return held


def _refuse_squeezed(taken: int, first: int, had: int) -> None:
    """Beyond a limit of its own (cgroup v1's) TCP lets a connection have one packet, no more."""
    if taken < first // 8:
        raise Held(f"{taken >> 10} KiB a connection, not {first >> 10}, after {had >> 20} MiB")


def _have(sizes: list[int], fill: Callable[[int], object] = _fill_anonymous) -> str:
    """Let a process for each size fill as much, all at the same time; raises Held."""
    children = [_filling_child(size, fill) for size in sizes]
    try:
        # Twice: who was full may have been killed to make room for the next.
        for _ in range(2):
            said = [child.recv(1024) for _, child in children]
            wrong = [text.decode() or "killed by the kernel" for text in said if text != b"had"]
            if wrong:
                raise Held(wrong[0])
            for _, child in children:
                child.send(b"?")
    except ConnectionError as error:
        raise Held("killed by the kernel") from error
    finally:
        # all ends first: a child has copies of those of the children before it
        for _, child in children:
            child.close()
        for pid, _ in children:
            os.waitpid(pid, 0)
    return f"{sum(sizes) // _MIB} MiB at once by {fill.__name__}"


def _filling_child(size: int, fill: Callable[[int], object]) -> tuple[int, socket.socket]:
    """(its pid, where it says how it went); it lives until that is closed."""
    ours, its = socket.socketpair()
    child = os.fork()
    if child:
        its.close()
        return child, ours
    try:
        ours.close()
        # When memory runs out the kernel takes us first, and nothing else of this container.
        Path("/proc/self/oom_score_adj").write_text("1000")
        kept = fill(size)
        its.send(b"had")
        while its.recv(1):
            its.send(b"had")
        del kept
    except (OSError, Held) as error:
        its.send(str(error).encode())
    finally:
        os._exit(0)
