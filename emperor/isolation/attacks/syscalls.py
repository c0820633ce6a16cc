"""System calls that Python does not wrap, by number, so that only the kernel has a say."""

import ctypes
import errno
import os
from pathlib import Path

from insula.emperor.isolation.attacks.contract import Absent

_LIBC = ctypes.CDLL(None, use_errno=True)
# addresses come back, too
_LIBC.syscall.restype = ctypes.c_long
# name, number on x86_64, number on aarch64 (0: it does not have the call)
TABLE = """
shmget 29 194  shmat 30 196  getpid 39 172  clone 56 220  ptrace 101 117  syslog 103 116
capset 126 91  personality 135 92  modify_ldt 154 0  adjtimex 159 171  acct 163 89
settimeofday 164 170  mount 165 40  umount2 166 39  swapon 167 224  reboot 169 142
sethostname 170 161  iopl 172 0  ioperm 173 0  init_module 175 105  kexec_load 246 104
add_key 248 217  keyctl 250 219  ioprio_set 251 30  unshare 272 97  perf_event_open 298 241
fanotify_init 300 262  fanotify_mark 301 263  open_by_handle_at 304 265  setns 308 268
process_vm_readv 310 270  finit_module 313 273  bpf 321 280  userfaultfd 323 282
io_uring_setup 425 425  open_tree 428 428  fsopen 430 430  fsconfig 431 431  fsmount 432 432
pidfd_open 434 434  clone3 435 435  pidfd_getfd 438 438
"""
_WORDS = TABLE.split()
MACHINE = os.uname().machine
_COLUMN = 2 if MACHINE == "aarch64" else 1
NUMBERS = {
    _WORDS[start]: int(_WORDS[start + _COLUMN]) for start in range(0, len(_WORDS), 3)
}  # fmt: skip

Argument = int | bytes | None | ctypes.Array[ctypes.c_char]


def call(name: str, *arguments: Argument) -> int:
    """Make a system call; raises OSError with its errno, Absent when the kernel lacks the call.

    A filter answers ENOSYS for what it does not know, so only without one that tells of the kernel.
    """
    if MACHINE not in ("x86_64", "aarch64"):
        raise RuntimeError(f"the numbers of {MACHINE}'s system calls are not known here")
    if not NUMBERS[name]:
        raise Absent(f"{MACHINE} has no {name}")
    return by_number(NUMBERS[name], name, *arguments)


def by_number(number: int, name: str, *arguments: Argument) -> int:
    """Like ``call``, for a number that is in no table; ``name`` is for messages."""
    values = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    answer = int(_LIBC.syscall(ctypes.c_long(number), *values))
    if answer == -1:
        code = ctypes.get_errno()
        if code == errno.ENOSYS and not is_filtered():
            raise Absent(f"this kernel has no {name}")
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return answer


def is_filtered() -> bool:
    """Whether a filter of system calls is on this process."""
    return status("Seccomp") == "2"


def status(name: str, pid: int | str = "self") -> str:
    """One line of /proc/PID/status, without its name; empty when it is not there."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")),
                "")  # fmt: skip


def capabilities() -> int:
    """The effective capabilities of this process, a bit each."""
    return int(status("CapEff") or "0", 16)


def switch(path: str) -> str:
    """A setting below /proc/sys; empty when the kernel does not have it."""
    try:
        return Path("/proc/sys", path).read_text().strip()
    except OSError:
        return ""


def refuse_when_machine_does(error: OSError, *, off: bool, why: str) -> None:
    """Raise Absent when the machine itself has switched off what was refused, else the error.

    A filter answers before the kernel looks at its settings, so with one the refusal counts.
    """
    if off and not is_filtered():
        raise Absent(why) from error
    raise error
