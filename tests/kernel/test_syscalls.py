"""The filter in the real kernel: what it refuses, by each door, and that only the filter does."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from insula.emperor.errors import KernelError
from insula.emperor.kernel import syscalls
from insula.emperor.seccomp.program import filter_program, numbers
from tests.kernel.calling import Call, errors

pytestmark = pytest.mark.kernel

PROGRAM = filter_program()
MACHINE = os.uname().machine
MACHINES = ("x86_64", "i386") if MACHINE == "x86_64" else (MACHINE,)
X32_BIT = 0x40000000
NEW_USER, NEW_NET = 0x10000000, 0x40000000
# Arguments with which root is told something else than EPERM, and nothing happens.
REFUSED: dict[str, list[int]] = {
    "mount": [0, 0, 0], "umount2": [0, 0], "pivot_root": [0, 0], "chroot": [0],
    "fsopen": [0, 0], "open_tree": [-1, 0, 0], "move_mount": [-1, 0, -1], "fsmount": [-1, 0, 0],
    "mount_setattr": [-1, 0, 0], "setns": [-1, 0], "unshare": [NEW_USER],
    "name_to_handle_at": [-1, 0, 0], "open_by_handle_at": [-1, 0, 0], "fanotify_mark": [-1, 0, 0],
    "bpf": [-1, 0, 0], "perf_event_open": [0, 0, 0], "userfaultfd": [-1],
    "io_uring_setup": [0, 0], "io_uring_enter": [-1, 0, 0], "io_uring_register": [-1, 0, 0],
    "keyctl": [-1], "add_key": [0, 0, 0], "request_key": [0, 0, 0],
    "init_module": [0, 0, 0], "finit_module": [-1, 0, 0], "kexec_load": [0, 0, 0],
    "swapon": [0, 0], "quotactl": [-1, 0, 0], "syslog": [-1, 0, 0], "reboot": [0, 0, 0],
}  # fmt: skip


def call(name: str, *arguments: int, machine: str = MACHINE) -> Call:
    return machine, numbers(machine)[name], list(arguments)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_no_customer_needs_is_refused_by_the_filter_alone(machine: str) -> None:
    calls = [call(name, *arguments, machine=machine) for name, arguments in REFUSED.items()]
    assert errors(PROGRAM, calls) == [errno.EPERM] * len(calls)
    without = dict(zip(REFUSED, errors(None, calls), strict=True))
    if machine == "i386":
        # a kernel may lack single ones, or all of 32 bit
        without = {name: error for name, error in without.items() if error != errno.ENOSYS}
    # root in this machine's own container may lack a right for these
    may = {"bpf", "perf_event_open", "syslog", "kexec_load", "reboot", "init_module", "swapon"}
    assert {name for name, error in without.items() if error == errno.EPERM} <= may


@pytest.mark.parametrize("machine", MACHINES)
def test_namespaces_and_clone3(machine: str) -> None:
    calls = [
        call("clone", NEW_USER | signal.SIGCHLD, machine=machine),
        call("clone", NEW_NET | signal.SIGCHLD, machine=machine),
        call("unshare", 0x20000, machine=machine),
        call("clone3", 0, 0, machine=machine),
        call("unshare", 0x200, machine=machine),
        call("getppid", machine=machine),
    ]
    assert errors(PROGRAM, calls) == [errno.EPERM] * 3 + [errno.ENOSYS, 0, 0]


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is of x86_64 alone")
def test_the_x32_bit_is_no_door() -> None:
    native = numbers("x86_64")
    calls: list[Call] = [
        ("x86_64", X32_BIT | native[name], [0, 0, 0]) for name in ("getpid", "mount", "unshare")
    ]
    assert errors(PROGRAM, calls) == [errno.EPERM] * 3


def test_sockets() -> None:
    wanted = {
        (1, 1, 0): 0, (2, 1, 0): 0, (10, 2, 0): 0, (16, 3, 0): 0,
        (2, 3, 1): errno.EPERM, (17, 3, 0x300): errno.EPERM, (10, 3, 58): errno.EPERM,
        (40, 1, 0): errno.EAFNOSUPPORT, (38, 5, 0): errno.EAFNOSUPPORT,
        (16, 3, 15): errno.EPROTONOSUPPORT,
    }  # fmt: skip
    calls = [call("socket", *arguments) for arguments in wanted]
    assert dict(zip(wanted, errors(PROGRAM, calls), strict=True)) == wanted


@pytest.mark.skipif(MACHINE != "x86_64", reason="socketcall is of i386 alone")
def test_socketcall_opens_no_socket_but_on_a_32_bit_distro() -> None:
    calls = [call("socketcall", number, 0, machine="i386") for number in (1, 8)]
    assert errors(PROGRAM, calls) == [errno.EPERM] * 2
    # It gets as far as reading its arguments at address 0.
    assert set(errors(filter_program(is_32bit=True), calls)) <= {errno.EFAULT, errno.ENOSYS}


def test_typing_into_a_terminal_is_refused_with_bits_above_too() -> None:
    calls = [call("ioctl", 0, 0x5412, 0), call("ioctl", 0, 0x5412 | 1 << 32, 0)]
    assert errors(PROGRAM, calls) == [errno.EPERM] * 2


def test_a_lease_that_lets_others_wait_is_refused() -> None:
    setlease, write_lease, getfd = 1024, 1, 1
    calls = [call("fcntl", 0, setlease, write_lease), call("fcntl", 0, getfd)]
    assert errors(PROGRAM, calls) == [errno.EPERM, 0]


def test_the_filter_passes_to_children_and_cannot_be_taken_off() -> None:
    script = (
        "import os, sys\n"
        "from insula.emperor.kernel import libc, syscalls\n"
        "libc.call('prctl', 38, 1, 0, 0, 0, about='')\n"
        "syscalls.apply_filter(bytes.fromhex(sys.argv[1]))\n"
        "try: libc.call('prctl', 22, 0, 0, 0, 0, about='off')\n"
        "except Exception as error: print(error)\n"
        "os.execvp('sh', ['sh', '-c', 'grep ^Seccomp: /proc/self/status; unshare -U true'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, PROGRAM.hex()], capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    assert "Seccomp:\t2" in done.stdout
    assert "off: Invalid argument" in done.stdout
    assert "Operation not permitted" in done.stderr


def test_without_no_new_privs_a_customer_cannot_load_one(tmp_path: Path) -> None:
    """So the order of the boot matters: had it the filter first, nothing would start."""
    script = (
        "import os, sys\n"
        "from insula.emperor.kernel import syscalls\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "syscalls.apply_filter(bytes.fromhex(sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, PROGRAM.hex()], capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    assert "filtering system calls: Permission denied" in done.stderr


@pytest.mark.parametrize("spoil", ["owner", "mode", "empty", "odd", "long", "link", "absent"])
def test_a_filter_that_is_not_roots_own_and_whole_is_not_believed(
    tmp_path: Path, spoil: str
) -> None:
    path = tmp_path / "seccomp.bpf"
    texts = {"empty": b"", "odd": PROGRAM[:-1], "long": bytes(8 * 4097)}
    path.write_bytes(texts.get(spoil, PROGRAM))
    if spoil == "owner":
        os.chown(path, 65534, 65534)
    if spoil == "mode":
        path.chmod(0o666)
    if spoil == "link":
        path.rename(tmp_path / "other")
        path.symlink_to("other")
    if spoil == "absent":
        path.unlink()
    with pytest.raises(KernelError, match=r"seccomp\.bpf"):
        syscalls.read_filter(path)


def test_a_good_filter_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "seccomp.bpf"
    path.write_bytes(PROGRAM)
    assert syscalls.read_filter(path) == PROGRAM
