"""Attacks on the kernel's richest sources of holes: mounts, and calls that few programs need."""

import ctypes
import fcntl
import os
import struct
import tempfile
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import syscalls
from insula.emperor.isolation.attacks.contract import Targets, any_of, attack

# ---- mounts --------------------------------------------------------------------------------------


@attack
def mount(_targets: Targets) -> str:
    """A file system of our own, our own files elsewhere, another /proc."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        kinds = ((b"tmpfs", b"tmpfs", 0), (b"/", None, 0x1000), (b"proc", b"proc", 0))
        return any_of([partial(_mount, place, *kind) for kind in kinds])


def _mount(place: str, source: bytes, kind: bytes | None, flags: int) -> str:
    syscalls.call("mount", source, place.encode(), kind, flags, None)
    syscalls.call("umount2", place.encode(), 0)
    return f"mounted {source.decode()} at {place}"


@attack
def mount_anew(_targets: Targets) -> str:
    """The calls since Linux 5.2 need no place to mount at: a descriptor is enough."""
    return any_of([_mount_by_descriptor, _copy_tree])


def _mount_by_descriptor() -> str:
    context = syscalls.call("fsopen", b"tmpfs", 0)
    create = 6
    syscalls.call("fsconfig", context, create, None, None, 0)
    mounted = syscalls.call("fsmount", context, 0, 0)
    os.close(os.open("in-it", os.O_CREAT | os.O_WRONLY, dir_fd=mounted))
    return "wrote into a file system that is mounted nowhere"


def _copy_tree() -> str:
    at_fdcwd, clone = -100, 1
    os.close(syscalls.call("open_tree", at_fdcwd, b"/", clone))
    return "have a copy of the mount of /"


@attack
def mount_cgroups(targets: Targets) -> str:
    """See the control groups, and open the file that holds our own limit of memory."""
    own = [str(Path(*Path(group).parts[-3:])) for group in targets.machine.cgroups]
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        kinds = ((b"cgroup2", b""), (b"cgroup", b"memory"), (b"cgroup", b"pids"))
        return any_of([partial(_open_limits, Path(place), own, *kind) for kind in kinds])


def _open_limits(place: Path, own: list[str], kind: bytes, options: bytes) -> str:
    syscalls.call("mount", b"cgroup", str(place).encode(), kind, 0, options)
    try:
        names = ("memory.max", "memory.limit_in_bytes", "pids.max")
        files = [place / group / name for group in ("", *own) for name in names]
        return any_of([partial(_open_to_write, file) for file in files])
    finally:
        syscalls.call("umount2", str(place).encode(), 0)


def _open_to_write(path: Path) -> str:
    os.close(os.open(path, os.O_WRONLY))
    return f"could write {path}"


# ---- sources of holes ----------------------------------------------------------------------------


@attack
def load_bpf(_targets: Targets) -> str:
    """The smallest map, the smallest program."""
    array, element = 2, 4
    map_create = struct.pack("=5I", array, element, element, 1, 0).ljust(72, b"\0")
    # r0 = 0; exit
    code = ctypes.create_string_buffer(struct.pack("=QQ", 0xB7, 0x95))
    licence = ctypes.create_string_buffer(b"GPL")
    socket_filter = 1
    prog_load = struct.pack(
        "=IIQQIIQ", socket_filter, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0
    ).ljust(72, b"\0")
    return any_of([
        partial(_descriptor, "a map of BPF", "bpf", 0, map_create, len(map_create)),
        partial(_descriptor, "a program of BPF", "bpf", 5, prog_load, len(prog_load)),
    ])  # fmt: skip


def _descriptor(what: str, name: str, *words: "int | bytes") -> str:
    os.close(syscalls.call(name, *words))
    return f"have {what}"


@attack
def open_performance_counters(_targets: Targets) -> str:
    """All processes of the first processor: what each of them runs could be seen."""
    software, cpu_clock, size = 1, 0, 112
    wanted = struct.pack("=IIQ", software, size, cpu_clock).ljust(size, b"\0")
    everybody, first, no_group = -1, 0, -1
    return _descriptor(
        "a counter of the whole processor", "perf_event_open", wanted, everybody, first, no_group, 0
    )


@attack
def use_keyring(_targets: Targets) -> str:
    """Its keys are counted and found by uid alone, across all namespaces."""
    process_keyring, session_keyring = -2, -3
    get_keyring_id, create = 0, 1
    return any_of([
        partial(_key, "add_key", b"user", b"attack", b"x", 1, process_keyring),
        partial(_key, "keyctl", get_keyring_id, session_keyring, create),
        partial(_key, "keyctl", get_keyring_id, process_keyring, create),
    ])  # fmt: skip


def _key(name: str, *words: "int | bytes") -> str:
    return f"{name} gave key {syscalls.call(name, *words)}"


@attack
def use_userfaultfd(_targets: Targets) -> str:
    """It stops the kernel in the middle of a copy for as long as one likes."""
    user_mode_only = 1
    return any_of([
        partial(_descriptor, "one", "userfaultfd", 0),
        partial(_descriptor, "one for user mode", "userfaultfd", user_mode_only),
        _open_userfaultfd,
    ])  # fmt: skip


def _open_userfaultfd() -> str:
    new = 0xAA00
    with open("/dev/userfaultfd", "rb") as file:
        os.close(fcntl.ioctl(file, new, 0))
    return "have one by /dev/userfaultfd"


@attack
def use_io_uring(_targets: Targets) -> str:
    """What it does by itself no filter sees."""
    parameters = ctypes.create_string_buffer(120)
    try:
        ring = syscalls.call("io_uring_setup", 1, parameters)
    except OSError as error:
        off = syscalls.switch("kernel/io_uring_disabled") in ("1", "2")
        syscalls.refuse_when_machine_does(error, off=off, why="io_uring is switched off here")
        raise
    os.close(ring)
    return "have a ring"


@attack
def use_segments(_targets: Targets) -> str:
    """Segments of our own: a corner of x86 that few review."""
    write, segment = 1, struct.pack("=IIII", 0, 0, 0xFFF, 1 << 0 | 1 << 5)
    syscalls.call("modify_ldt", write, segment, len(segment))
    return "wrote a segment of our own"


@attack
def reach_ports(_targets: Targets) -> str:
    """The machine's hardware ports; taking none away shows that we may."""
    return any_of([
        partial(_done, "may set our level of input and output", "iopl", 3),
        partial(_done, "may use hardware ports", "ioperm", 0x80, 1, 1),
    ])  # fmt: skip


def _done(what: str, name: str, *words: "int | bytes | None") -> str:
    syscalls.call(name, *words)
    return what


@attack
def loosen_memory(_targets: Targets) -> str:
    """Page 0 usable and all memory executable: what makes other holes usable."""
    mmap_page_zero, read_implies_exec = 0x0100000, 0x0400000
    before = syscalls.call("personality", mmap_page_zero | read_implies_exec)
    return f"personality was {before:#x}, now all that can be read can be run"


@attack
def watch_all_files(_targets: Targets) -> str:
    """fanotify on a whole mount: which files are opened, with a descriptor for each."""
    classic, add_mount, on_open, at_fdcwd = 0, 0x01 | 0x10, 0x20, -100
    group = syscalls.call("fanotify_init", classic, os.O_RDONLY)
    syscalls.call("fanotify_mark", group, add_mount, on_open, at_fdcwd, b"/tmp")
    return "hear of each file that is opened on the mount of /tmp, whoever opens it"
