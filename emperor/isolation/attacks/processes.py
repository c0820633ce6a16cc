"""Attacks on the processes of others: seeing, stopping, reading, entering them."""

import contextlib
import ctypes
import os
import re
import signal
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import syscalls
from insula.emperor.isolation.attacks.contract import Held, Targets, any_of, attack

_PTRACE_SEIZE = 0x4206
_CHUNK_BYTES = 1 << 20
_MOST_NUMBERS = 1 << 16


def _others(targets: Targets) -> int:
    """The neighbour's process; Held when this number is one of our own here."""
    return _not_ours(targets, targets.neighbour.pid)


def _not_ours(targets: Targets, pid: int) -> int:
    if pid <= 0:
        raise ValueError("the process to attack is not known")
    with contextlib.suppress(OSError):
        if syscalls.status("Uid", pid).split()[0] == str(targets.own.uid):
            raise Held(f"process {pid} is one of our own")
    if pid == 1 and os.getuid() == targets.own.uid:
        raise Held("process 1 is our own first process")
    return pid


@attack
def see_processes(targets: Targets) -> str:
    """Walk /proc for the neighbour's processes and for the node's Emperor."""
    shown = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    for pid in {*shown, targets.neighbour.pid, targets.machine.emperor_pid}:
        with contextlib.suppress(OSError, IndexError):
            uid = int(syscalls.status("Uid", pid).split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            is_emperor = pid == targets.machine.emperor_pid and b"uwsgi" in command
            if uid == targets.neighbour.uid or is_emperor:
                return f"process {pid} of {uid} runs {command[:60]!r}"
    raise Held(f"/proc shows {len(shown)} processes, all our own")


@attack
def find_processes(targets: Targets) -> str:
    """Whether a number is taken many calls tell, whatever /proc hides."""
    pid = _others(targets)
    tries: list[Callable[[], object]] = [
        partial(os.getpgid, pid), partial(os.getsid, pid), partial(os.sched_getscheduler, pid),
        partial(os.sched_getaffinity, pid), partial(os.getpriority, os.PRIO_PROCESS, pid),
        partial(syscalls.call, "pidfd_open", pid, 0),
    ]  # fmt: skip
    return any_of([partial(_tells, pid, one) for one in tries])


def _tells(pid: int, ask: Callable[[], object]) -> str:
    return f"process {pid} is there: {ask()}"


@attack
def read_environment(targets: Targets) -> str:
    """Passwords stand in environments."""
    path = Path(f"/proc/{_others(targets)}/environ")
    return _with_secret(targets, path.read_bytes(), str(path))


def _with_secret(targets: Targets, found: bytes, where: str) -> str:
    if targets.neighbour.secret.encode() in found:
        return f"the neighbour's secret from {where}"
    raise Held(f"{where} is not the neighbour's")


@attack
def signal_neighbour(targets: Targets) -> str:
    """Signal 0 asks whether a real one would arrive."""
    return _signal(_others(targets))


@attack
def signal_machine(targets: Targets) -> str:
    """The node's Emperor: all containers would end with it."""
    return _signal(_not_ours(targets, targets.machine.emperor_pid))


def _signal(pid: int) -> str:
    return any_of([partial(_kill, pid), partial(_signal_by_descriptor, pid)])


def _kill(pid: int) -> str:
    os.kill(pid, 0)
    return f"could signal process {pid}"


def _signal_by_descriptor(pid: int) -> str:
    with _pidfd(pid) as descriptor:
        signal.pidfd_send_signal(descriptor, 0)
    return f"could signal process {pid} by a descriptor"


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@attack
def trace_neighbour(targets: Targets) -> str:
    """PTRACE_SEIZE stops nothing, and the kernel lets go when we end."""
    return seize(_others(targets))


def seize(pid: int) -> str:
    """Become the tracer of a process, without stopping it."""
    try:
        syscalls.call("ptrace", _PTRACE_SEIZE, pid, 0, 0)
    except OSError as error:
        nobody = syscalls.switch("kernel/yama/ptrace_scope") == "3"
        syscalls.refuse_when_machine_does(error, off=nobody, why="yama lets nobody trace")
    return f"trace process {pid}"


@attack
def read_memory(targets: Targets) -> str:
    """By /proc and by process_vm_readv, over all that may be written: there secrets lie."""
    pid = _others(targets)
    return any_of([partial(_by_file, targets, pid), partial(_by_call, targets, pid)])


def _ranges(pid: int) -> list[tuple[int, int]]:
    found = re.findall(r"^(\w+)-(\w+) rw", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE)
    # the stack, with the environment at its end, is the last of them
    return [(int(start, 16), int(end, 16)) for start, end in reversed(found)]


def _by_file(targets: Targets, pid: int) -> str:
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for start, end in _ranges(pid):
            memory.seek(start)
            with contextlib.suppress(OSError, Held):
                found = memory.read(min(end - start, _CHUNK_BYTES))
                return _with_secret(targets, found, f"the memory of {pid} at {start:#x}")
    raise Held(f"no secret in /proc/{pid}/mem")


def _by_call(targets: Targets, pid: int) -> str:
    for start, end in _ranges(pid):
        size = min(end - start, _CHUNK_BYTES)
        space = ctypes.create_string_buffer(size)
        ours = struct.pack("=QQ", ctypes.addressof(space), size)
        theirs = struct.pack("=QQ", start, size)
        with contextlib.suppress(OSError, Held):
            syscalls.call("process_vm_readv", pid, ours, 1, theirs, 1, 0)
            return _with_secret(targets, space.raw, f"process_vm_readv of {pid}")
    raise Held(f"no secret by process_vm_readv of {pid}")


@attack
def take_descriptor(targets: Targets) -> str:
    """Its listening sockets: with one we answer in its place."""
    pid = _others(targets)
    with _pidfd(pid) as process:
        return any_of([partial(_take, pid, process, number) for number in range(10)])


def _take(pid: int, process: int, number: int) -> str:
    taken = syscalls.call("pidfd_getfd", process, number, 0)
    try:
        return f"descriptor {number} of {pid}: {os.readlink(f'/proc/self/fd/{taken}')}"
    finally:
        os.close(taken)


@attack
def enter_neighbour(targets: Targets) -> str:
    """As the platform's own door does it; then its home is in sight."""
    pid = _others(targets)
    mounts, everything = 0x00020000, 0x00020000 | 0x40000000 | 0x08000000
    with _pidfd(pid) as process:
        try:
            syscalls.call("setns", process, everything)
        except OSError:
            with Path(f"/proc/{pid}/ns/mnt").open() as namespace:
                syscalls.call("setns", namespace.fileno(), mounts)
    found = Path(f"/containers/{targets.neighbour.uid}/secret.txt").read_bytes()
    return _with_secret(targets, found, "inside its namespaces")


@attack
def slow_neighbour(targets: Targets) -> str:
    """Change how much of the processors it gets: to what it gets today."""
    pid = _others(targets)
    return any_of([partial(_renice, pid), partial(_pin, pid)])


def _renice(pid: int) -> str:
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))
    return f"may renice process {pid}"


def _pin(pid: int) -> str:
    os.sched_setaffinity(pid, os.sched_getaffinity(pid))
    return f"may choose the processors of {pid}"


@attack
def trace_platform(targets: Targets) -> str:
    """The platform's processes in our own container have begun as root and hold what root left.

    The first process and those of the ssh door: they do not show in /proc, but take numbers.
    """
    numbers = range(1, min(os.getpid(), _MOST_NUMBERS))
    hidden = [pid for pid in numbers if _is_hidden(pid, targets)]
    return any_of([partial(_hold, pid) for pid in hidden])


def _is_hidden(pid: int, targets: Targets) -> bool:
    try:
        os.getpgid(pid)
    except ProcessLookupError:
        return False
    try:
        # what began as root and has run no program since belongs to root, whatever uid it has
        return os.stat(f"/proc/{pid}/environ").st_uid != targets.own.uid
    except OSError:
        return True


def _hold(pid: int) -> str:
    def memory() -> str:
        with Path(f"/proc/{pid}/mem").open("rb", 0) as file:
            start, _ = _ranges(pid)[0]
            file.seek(start)
            return f"{len(file.read(64))} bytes of the memory of {pid}"

    def program() -> str:
        os.close(os.open(f"/proc/{pid}/exe", os.O_RDONLY))
        return f"the program of {pid}: {os.readlink(f'/proc/{pid}/exe')}"

    def descriptor() -> str:
        with _pidfd(pid) as process:
            return _take(pid, process, 0)

    return any_of([memory, program, descriptor, partial(seize, pid)])


@attack
def borrow_unfiltered_process(_targets: Targets) -> str:
    """A process of our own without the filter would make our calls for us, if we trace it."""
    free = [int(name) for name in filter(str.isdecimal, os.listdir("/proc")) if _is_free(name)]
    if not free:
        raise Held("each process that we see has a filter")
    if os.getpid() in free:
        return "we have no filter ourselves"
    return any_of([partial(seize, pid) for pid in free])


def _is_free(name: str) -> bool:
    """Whether this process is of our uid and has no filter."""
    with contextlib.suppress(OSError):
        is_ours = os.stat(f"/proc/{name}").st_uid == os.getuid()
        return is_ours and syscalls.status("Seccomp", name) != "2"
    return False
