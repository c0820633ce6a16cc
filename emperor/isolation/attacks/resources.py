"""Attacks on what all containers share: processes, processors, disk, terminals, priority.

Each takes a quarter more than its container may have, shows that it has it, and gives it back.
"""

import contextlib
import ctypes
import mmap
import os
import resource
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks.contract import (
    Held,
    Targets,
    any_of,
    attack,
)
from insula.emperor.isolation.attacks.memory import PAGE_BYTES, more_than, touch

_LIBC = ctypes.CDLL(None, use_errno=True)
_MIB = 1024**2
_TERMINALS = 128  # the devpts mount's max
# ioprio_set(2): a process, itself; class 1 is real time
_IOPRIO_SET = 30 if os.uname().machine == "aarch64" else 251
_IOPRIO_WHO_PROCESS, _IOPRIO_REAL_TIME = 1, 1 << 13


# ---- processes -----------------------------------------------------------------------------------


@attack
def fork_bomb(targets: Targets) -> str:
    """Processes that all live at the same time."""
    wanted = more_than(targets.own.pids)
    reader, writer = os.pipe()
    children: list[int] = []
    try:
        while len(children) < wanted:
            children.append(wait_in_child(reader, writer))
    except OSError as error:
        raise Held(f"no process after {len(children)}: {error}") from error
    finally:
        # all of them wake up when the last writer is gone, also when we are killed
        os.close(writer)
        os.close(reader)
        for child in children:
            os.waitpid(child, 0)
    return f"{wanted} processes at once"


def wait_in_child(reader: int, writer: int, first: Callable[[], None] | None = None) -> int:
    """A child that does ``first`` and then waits until nobody can write to the pipe any more."""
    child = os.fork()
    if child:
        return child
    try:
        os.close(writer)
        if first is not None:
            first()
        os.read(reader, 1)
    finally:
        os._exit(0)


@attack
def thread_bomb(targets: Targets) -> str:
    """Threads of one process, which count like processes."""
    wanted = more_than(targets.own.pids)
    end = threading.Event()
    threads: list[threading.Thread] = []
    threading.stack_size(64 * 1024)
    try:
        while len(threads) < wanted:
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        raise Held(f"no thread after {len(threads)}: {error}") from error
    finally:
        end.set()
        for thread in threads:
            thread.join()
    return f"{wanted} threads at once"


# ---- processors ----------------------------------------------------------------------------------


@attack
def processor_hog(targets: Targets) -> str:
    """Processes that only compute, so many that they also get their share of a busy machine."""
    allowed = targets.own.cpu_percent
    found = 0.0
    for _ in range(3):
        found = max(found, _percent_had(processes=80, seconds=0.7))
        if found >= more_than(allowed):
            return f"{found:.0f} % of a processor"
    raise Held(f"{found:.0f} % of a processor, {allowed} % is allowed")


def _percent_had(*, processes: int, seconds: float) -> float:
    before, begin = _children_seconds(), time.monotonic()
    children: list[int] = []
    with contextlib.suppress(OSError):  # so many as there may be
        while len(children) < processes:
            children.append(_burning_child(begin + seconds))
    for child in children:
        os.waitpid(child, 0)
    return 100 * (_children_seconds() - before) / (time.monotonic() - begin)


def _burning_child(until: float) -> int:
    child = os.fork()
    if child:
        return child
    try:
        # also when whoever waits for us is gone
        signal.alarm(10)
        # where the kernel shares by sessions (autogroup), each has a share of its own
        os.setsid()
        while time.monotonic() < until:
            pass
    finally:
        os._exit(0)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ---- disk ----------------------------------------------------------------------------------------


@attack
def fill_home(targets: Targets) -> str:
    """By writing, by reserving, and by writing to memory that is a file."""
    size = more_than(targets.own.disk_bytes)
    ways = (_write_file, _reserve_file, _write_mapped_file)
    return any_of([partial(_fill, {_home(): size}, way) for way in ways])


@attack
def fill_temporary_files(targets: Targets) -> str:
    """There alone, and a part in each place that the customer may write to."""
    size = more_than(targets.own.disk_bytes)
    places = [_home(), "/tmp", "/var/tmp", "/run/sockets"]
    return any_of([
        partial(_fill, {"/tmp": size}, _write_file),
        partial(_fill, dict.fromkeys(places, size // len(places)), _write_file),
    ])  # fmt: skip


@attack
def fill_inodes(targets: Targets) -> str:
    """Links whose targets fill a block each, all of it metadata, after most of it is data."""
    limit = targets.own.disk_bytes
    data = limit * 9 // 10
    wanted = (more_than(limit) - data) // PAGE_BYTES
    with _directory(_home()) as place:
        _write_file(place / "bomb", data)
        made = 0
        try:
            for made in range(wanted):
                os.symlink("x" * (PAGE_BYTES - 1), f"{place}/{made:0200}")
        except OSError as error:
            raise Held(f"no link after {made}: {error.strerror}") from error
    return f"{data // _MIB} MiB and {wanted} links of a block each"


def _home() -> str:
    """Where the customer's files are; an ssh session and an app are told by their environment."""
    return os.environ["HOME"]


def _fill(sizes: dict[str, int], way: Callable[[Path, int], None]) -> str:
    with contextlib.ExitStack() as stack:
        for place, size in sizes.items():
            directory = stack.enter_context(_directory(place))
            way(directory / "bomb", size)
    return f"{sum(sizes.values()) // _MIB} MiB in {', '.join(sizes)} by {way.__name__}"


def _write_file(path: Path, size: int) -> None:
    # random, so that no file system can make it smaller
    block = os.urandom(_MIB)
    with path.open("wb", buffering=0) as file:
        for number in range(size // _MIB):
            if file.write(block) != _MIB:
                raise Held(f"written short after {number} MiB")


def _reserve_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _write_mapped_file(path: Path, size: int) -> None:
    """Pages for which there is no room end in SIGBUS, so a child writes them."""
    with path.open("w+b") as file:
        file.truncate(size)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                memory = mmap.mmap(file.fileno(), size)
                touch(memory, size)
                memory.flush()
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGBUS:
        raise Held("writing to mapped memory ended with SIGBUS")
    if status != 0:
        raise Held(f"writing to mapped memory ended with {status}")


@contextlib.contextmanager
def _directory(place: str) -> Iterator[Path]:
    """A new directory that is gone afterwards, with what it held of the limit."""
    path = Path(tempfile.mkdtemp(prefix="bomb-", dir=place))
    try:
        yield path
    finally:
        shutil.rmtree(path)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        # the limit counts what was deleted until the file system has written that down
        _LIBC.syncfs(fd)
        os.close(fd)


# ---- what else is limited ------------------------------------------------------------------------


@attack
def terminal_bomb(_targets: Targets) -> str:
    """The machine has some 3000 for everybody."""
    wanted = more_than(_TERMINALS)
    opened = open_terminals(most=wanted)
    for fd in opened:
        os.close(fd)
    if len(opened) < wanted:
        raise Held(f"no terminal after {len(opened)}")
    return f"{wanted} terminals at once"


def open_terminals(*, most: int) -> list[int]:
    """Open terminals until there are so many or no more are given."""
    opened: list[int] = []
    with contextlib.suppress(OSError):
        while len(opened) < most:
            opened.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    return opened


@attack
def raise_own_limits(_targets: Targets) -> str:
    """More open files, a better place in the queues, the last to go when memory runs out.

    All of it is of this process alone, which ends at once.
    """
    return any_of([_raise_files, _raise_priority, _raise_disk_priority, _lower_oom_score])


def _raise_files() -> str:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard >= (1 << 20):
        # as high as fs.nr_open lets anybody go
        raise Held("the limit of open files is the machine's")
    with contextlib.suppress(ValueError):
        # Python says ValueError for EPERM
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
        return f"{hard + 1} open files"
    raise Held(f"no more than {hard} open files")


def _raise_priority() -> str:
    os.setpriority(os.PRIO_PROCESS, 0, -5)
    return "nice -5"


def _raise_disk_priority() -> str:
    if _LIBC.syscall(_IOPRIO_SET, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_REAL_TIME) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ioprio_set: {os.strerror(number)}")
    return "real-time input and output"


def _lower_oom_score() -> str:
    score = Path("/proc/self/oom_score_adj")
    before = int(score.read_text())
    score.write_text(str(max(-1000, before - 100)))
    return f"an oom score of {score.read_text().strip()} instead of {before}"
