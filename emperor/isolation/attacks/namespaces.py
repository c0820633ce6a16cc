"""Attacks that make a user namespace: with one come all capabilities over it, and much code."""

import ctypes
import errno
import mmap
import os
import signal
import struct
from collections.abc import Callable, Sequence
from functools import partial

from insula.emperor.isolation.attacks import syscalls
from insula.emperor.isolation.attacks.contract import Absent, Held, Targets, any_of, attack

CLONE_NEWUSER = 0x10000000
CLONE_NEWNS = 0x00020000
# clone3(2): flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
_CLONE_ARGS = struct.Struct("=8Q")
_X32_BIT = 0x40000000
I386_UNSHARE = 310
# push rbx; mov eax, NUMBER; mov ebx, ARGUMENT; int 0x80; pop rbx; ret
_I386_CODE = struct.Struct("=BBIBIBBBB")
_PTRACE_TRACEME, _PTRACE_PEEKUSER, _PTRACE_POKEUSER, _PTRACE_SYSCALL = 0, 3, 6, 24
_PTRACE_SEIZE, _SUSPEND_SECCOMP = 0x4206, 1 << 21
# asm/user_64.h: byte offsets of registers in struct user
_RAX, _RDI, _ORIGINAL_RAX = 80, 112, 120
_PROOF = "we are in a user namespace of our own"


@attack
def make_user_namespace(_targets: Targets) -> str:
    """By unshare and by clone."""
    return _unless_switched_off([_by_unshare, _by_clone])


@attack
def make_namespace_by_clone3(_targets: Targets) -> str:
    """Its flags lie in memory, where a filter cannot look."""
    return _unless_switched_off([_by_clone3])


@attack
def make_namespace_as_i386(_targets: Targets) -> str:
    """The 32-bit entry has other numbers: unshare is 310, which here is process_vm_readv."""
    if syscalls.MACHINE != "x86_64":
        raise Absent(f"{syscalls.MACHINE} has no calls of i386")
    return _unless_switched_off([_by_i386])


@attack
def make_namespace_as_x32(_targets: Targets) -> str:
    """The x32 calls are the 64-bit ones with one more bit in their number."""
    if syscalls.MACHINE != "x86_64":
        raise Absent(f"{syscalls.MACHINE} has no calls of x32")
    number = syscalls.NUMBERS["unshare"] | _X32_BIT
    return _unless_switched_off([partial(_unshare_by_number, number)])


@attack
def dodge_filter_by_tracing(_targets: Targets) -> str:
    """Let the filter see getpid, then make unshare of it: old kernels asked the filter first."""
    if syscalls.MACHINE != "x86_64":
        raise Absent(f"the registers of {syscalls.MACHINE} are not known here")
    return _unless_switched_off([_by_tracing])


@attack
def suspend_filter(_targets: Targets) -> str:
    """Programs that save and restore processes may switch off the filter of one they trace."""
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        syscalls.call("ptrace", _PTRACE_SEIZE, child, 0, _SUSPEND_SECCOMP)
    except OSError as error:
        lacks = error.errno == errno.EINVAL
        syscalls.refuse_when_machine_does(error, off=lacks, why="this kernel has no such option")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return "may switch off the filter of a process that we trace"


def _unless_switched_off(tries: Sequence[Callable[[], str]]) -> str:
    """The proof; Absent where the machine lets nobody make one and no filter is in the way."""
    try:
        return any_of(tries)
    except Held as error:
        switched_off = (
            syscalls.switch("user/max_user_namespaces") == "0"
            or syscalls.switch("kernel/unprivileged_userns_clone") == "0"
            or syscalls.switch("kernel/apparmor_restrict_unprivileged_userns") == "1"
        )
        if switched_off and not syscalls.is_filtered():
            raise Absent("this machine has switched user namespaces off") from error
        raise


def _by_unshare() -> str:
    syscalls.call("unshare", CLONE_NEWUSER)
    return _PROOF


def _unshare_by_number(number: int) -> str:
    syscalls.by_number(number, "unshare of x32", CLONE_NEWUSER)
    return _PROOF


def _by_clone() -> str:
    return _born(syscalls.call("clone", CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0))


def _by_clone3() -> str:
    wanted = _CLONE_ARGS.pack(CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    return _born(syscalls.call("clone3", wanted, len(wanted)))


def _born(child: int) -> str:
    """The child of a raw clone ends at once: it must not go on as a second attacker."""
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return f"process {child} of ours was in a user namespace of its own"


def _by_i386() -> str:
    child = os.fork()
    if child == 0:
        os._exit(-_int80(I386_UNSHARE, CLONE_NEWUSER) & 0xFF)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    is_unknown = code == errno.ENOSYS and not syscalls.is_filtered()
    if is_unknown or code in (-signal.SIGSEGV, -signal.SIGILL, -signal.SIGTRAP, -signal.SIGBUS):
        raise Absent("this kernel has no calls of i386")
    if code < 0:
        raise Held(f"the call ended with signal {-code}")
    if code:
        raise OSError(code, f"unshare of i386: {os.strerror(code)}")
    return "unshare of i386 made a user namespace"


def _int80(number: int, argument: int) -> int:
    """Enter the kernel the old 32-bit way; a negative answer is an errno."""
    code = _I386_CODE.pack(0x53, 0xB8, number, 0xBB, argument, 0xCD, 0x80, 0x5B, 0xC3)
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return int(ctypes.CFUNCTYPE(ctypes.c_int32)(start)())


def _by_tracing() -> str:
    child = os.fork()
    if child == 0:
        _be_traced()
    try:
        if not os.WIFSTOPPED(os.waitpid(child, 0)[1]):
            if int(syscalls.switch("kernel/yama/ptrace_scope") or 0) >= 2:
                raise Absent("yama lets nobody trace")
            raise Held("we may not trace our own child")
        answer = _swap_its_next_getpid(child)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer:
        raise OSError(-answer, f"getpid made unshare while traced: {os.strerror(-answer)}")
    return "unshare got through where the filter had seen getpid"


def _be_traced() -> None:
    try:
        syscalls.call("ptrace", _PTRACE_TRACEME, 0, 0, 0)
    except OSError:
        os._exit(1)
    os.kill(os.getpid(), signal.SIGSTOP)
    syscalls.call("getpid")
    os._exit(0)


def _swap_its_next_getpid(child: int) -> int:
    """What unshare answered, which the child has begun as getpid: 0, or a negative errno."""
    while True:
        _on_to_the_next_stop(child)
        if _register(child, _ORIGINAL_RAX) == syscalls.NUMBERS["getpid"]:
            break
    syscalls.call("ptrace", _PTRACE_POKEUSER, child, _ORIGINAL_RAX, syscalls.NUMBERS["unshare"])
    syscalls.call("ptrace", _PTRACE_POKEUSER, child, _RDI, CLONE_NEWUSER)
    _on_to_the_next_stop(child)
    return _register(child, _RAX)


def _on_to_the_next_stop(child: int) -> None:
    syscalls.call("ptrace", _PTRACE_SYSCALL, child, 0, 0)
    if not os.WIFSTOPPED(os.waitpid(child, 0)[1]):
        raise Held("the traced child ended")


def _register(child: int, offset: int) -> int:
    value = ctypes.create_string_buffer(8)
    syscalls.call("ptrace", _PTRACE_PEEKUSER, child, offset, value)
    return int(struct.unpack("=q", value.raw)[0])
