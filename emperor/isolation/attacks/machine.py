"""Attacks on the machine as such: its modules, clock, name, swap, log, its next kernel.

Where one gets through it changes nothing: its arguments are the values of today, or are refused for
what they are only after the kernel has asked who may.
"""

import ctypes
import errno
import os
import socket
import struct
import tempfile
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import syscalls
from insula.emperor.isolation.attacks.contract import (
    Absent,
    Held,
    Targets,
    any_of,
    attack,
    past_permission,
)

_SPACE_BYTES = 4096
_SECONDS = 3.0
# netlink(7): length, kind, flags, number, port
_MESSAGE = struct.Struct("=IHHII")


def _past_permission(
    answers: tuple[int, ...], proof: str, name: str, *words: "int | bytes | None"
) -> str:
    return past_permission(partial(syscalls.call, name, *words), answers, proof)


@attack
def load_module(_targets: Targets) -> str:
    """What is no module is refused only after the kernel has asked who may load one."""
    garbage = b"this is no module".ljust(128)
    bad = (errno.ENOEXEC, errno.EINVAL)
    with tempfile.TemporaryFile() as file:
        file.write(garbage)
        file.flush()
        by_file = partial(
            _past_permission, bad, "may load modules", "finit_module", file.fileno(), b"", 0
        )
        by_memory = partial(
            _past_permission, bad, "may load modules", "init_module", garbage, len(garbage), b""
        )
        try:
            return any_of([by_memory, by_file])
        except Held as error:
            if syscalls.switch("kernel/modules_disabled") == "1" and not syscalls.is_filtered():
                raise Absent("this machine loads no more modules") from error
            raise


@attack
def reboot_machine(_targets: Targets) -> str:
    """Set what Ctrl-Alt-Del does to what it does: from a pid namespace that is EINVAL, too."""
    magic, again, switch_on, switch_off = 0xFEE1DEAD, 672274793, 0x89ABCDEF, 0
    today = switch_on if syscalls.switch("kernel/ctrl-alt-del") == "1" else switch_off
    syscalls.call("reboot", magic, again, today, None)
    return "reboot(2) obeys, asked for nothing but what is"


@attack
def start_another_kernel(_targets: Targets) -> str:
    """No segments and impossible flags: refused as such only after the question who may."""
    try:
        return _past_permission(
            (errno.EINVAL,), "may load a kernel to be started", "kexec_load", 0, 0, None, 0x7FFF
        )
    except OSError as error:
        off = syscalls.switch("kernel/kexec_load_disabled") == "1"
        syscalls.refuse_when_machine_does(error, off=off, why="kexec is switched off here")
        raise


@attack
def set_clock(_targets: Targets) -> str:
    """With neither a time nor a zone nothing is set, but the kernel asks all the same."""
    syscalls.call("settimeofday", None, None)
    return "may set the clock"


@attack
def tune_clock(_targets: Targets) -> str:
    """adjtimex(2), which programs may ask, can also turn the clock's speed: to what it is."""
    size, frequency = 208, 16
    setting = ctypes.create_string_buffer(size)
    syscalls.call("adjtimex", setting)
    today = setting.raw[frequency : frequency + 8]
    set_frequency = struct.pack("=IIQ", 0x0002, 0, 0) + today
    syscalls.call("adjtimex", ctypes.create_string_buffer(set_frequency.ljust(size, b"\0"), size))
    return f"set the clock's speed to {struct.unpack('=q', today)[0]}, which it was"


@attack
def set_hostname(targets: Targets) -> str:
    """The machine's, not the container's: set to what it is."""
    name = os.uname().nodename
    if name == targets.own.hostname:
        raise Held(f"the only name in reach is our own, {name}")
    syscalls.call("sethostname", name.encode(), len(name.encode()))
    return f"may rename {name}"


@attack
def swap_on(_targets: Targets) -> str:
    """A file that is not there: the kernel asks who may first."""
    return _past_permission((errno.ENOENT,), "may turn a file into swap", "swapon", b"/absent", 0)


@attack
def account_processes(_targets: Targets) -> str:
    """Every process of the machine would be written down when it ends; not into a missing file."""
    return _past_permission((errno.ENOENT,), "may account for all processes", "acct", b"/absent")


@attack
def command_audit(_targets: Targets) -> str:
    """Its socket is open to us, because sshd wants it; we ask for its settings."""
    audit, get, request_and_answer, error_kind = 9, 1000, 0x5, 2
    try:
        connection = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, audit)
    except OSError as error:
        lacks = error.errno == errno.EPROTONOSUPPORT
        syscalls.refuse_when_machine_does(error, off=lacks, why="this kernel has no audit")
        raise
    with connection:
        connection.settimeout(_SECONDS)
        connection.sendto(_MESSAGE.pack(_MESSAGE.size, get, request_and_answer, 1, 0), (0, 0))
        while True:
            answer = connection.recv(_SPACE_BYTES)
            _, kind, _, _, _ = _MESSAGE.unpack_from(answer)
            code = struct.unpack_from("=i", answer, _MESSAGE.size)[0]
            if kind == error_kind and code:
                raise OSError(-code, f"audit: {os.strerror(-code)}")
            if kind == get:
                return f"the kernel's audit told its settings: {answer[16:32].hex()}"


@attack
def read_kernel_log(_targets: Targets) -> str:
    """By syslog(2) and by its files."""
    files = [Path("/dev/kmsg"), Path("/proc/kmsg")]
    return any_of([_ask_for_log, *(partial(_read_log, path) for path in files)])


def _ask_for_log() -> str:
    read_all = 3
    space = ctypes.create_string_buffer(_SPACE_BYTES)
    count = syscalls.call("syslog", read_all, space, _SPACE_BYTES)
    if not count:
        raise Absent("the kernel's log is empty")
    return f"read the log: {space.raw[:count].decode(errors='replace')[:60]!r}"


def _read_log(path: Path) -> str:
    log = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if found := os.read(log, _SPACE_BYTES):
            return f"read {path}: {found[:60]!r}"
    finally:
        os.close(log)
    raise Held(f"{path} is empty")
