"""Attacks that gain a right: another uid, a capability, a better place in the kernel's queues."""

import os
import socket
import stat
import struct
import subprocess
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import syscalls
from insula.emperor.isolation.attacks.contract import Absent, Held, Targets, any_of, attack

_SECONDS = 5.0
_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 1 << 21, 1 << 24
_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/lib/openssh", "/usr/libexec", "/opt", "/mnt")
# SCM_CREDENTIALS of unix(7), which Python does not know
_SCM_CREDENTIALS = 2
_CREDENTIALS = struct.Struct("=3i")


@attack
def become_neighbour(targets: Targets) -> str:
    """Its uid, its group, or its group besides ours."""
    uid = targets.neighbour.uid
    return any_of([
        partial(_become, f"are uid {uid}", partial(os.setresuid, uid, uid, uid)),
        partial(_become, f"are of group {uid}", partial(os.setresgid, uid, uid, uid)),
        partial(_become, f"are of group {uid}, too", partial(os.setgroups, [uid])),
    ])  # fmt: skip


def _become(proof: str, act: "partial[None]") -> str:
    act()
    return proof


@attack
def hold_capability(_targets: Targets) -> str:
    """One that was left to us, or that we may give ourselves."""
    left = {name: value for name in _SETS if int(value := syscalls.status(name), 16)}
    if left:
        return f"were left {left}"
    version, everything = 0x20080522, 0xFFFFFFFF
    header = struct.pack("=Ii", version, 0)
    syscalls.call("capset", header, struct.pack("=6I", *[everything] * 6))
    return "gave ourselves all capabilities"


@attack
def run_set_uid_program(targets: Targets) -> str:
    """The C library prints LD_SHOW_AUXV for every program but those that gain a right."""
    if os.getuid() == 0:
        # root gains nothing from them
        os.setgroups([])
        os.setresuid(targets.own.uid, targets.own.uid, targets.own.uid)
    if "AT_SECURE" not in _auxiliary("/usr/bin/true"):
        raise Absent("this C library does not show what it was started with")
    programs = [path for place in _PROGRAMS for path in _gifted(Path(place))]
    if not programs:
        raise Held("there is no set-uid program, and none with capabilities")
    return any_of([partial(_gain, path) for path in programs])


def _gifted(place: Path) -> list[str]:
    """Programs there that are set-uid to somebody else, or have capabilities."""
    found = []
    for path in place.glob("*"):
        state = path.stat() if path.exists() else os.lstat(path)
        is_set_uid = bool(state.st_mode & stat.S_ISUID) and state.st_uid != os.getuid()
        if is_set_uid or "security.capability" in os.listxattr(path, follow_symlinks=False):
            found.append(str(path))
    return found


def _auxiliary(program: str) -> str:
    environment = {"LD_SHOW_AUXV": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [program, "--version"], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=_SECONDS, check=False, text=True, errors="replace",
    )  # fmt: skip
    return done.stdout


def _gain(program: str) -> str:
    if "AT_SECURE" in _auxiliary(program):
        raise Held("set-uid programs run as ourselves")
    return f"{program} ran with rights that we do not have"


@attack
def become_urgent(_targets: Targets) -> str:
    """Before everybody else: a real-time class, a lower nice value, the disk's real-time class."""
    set_process, real_time = 1, 1 << 13
    return any_of([
        partial(_become, "are in the real-time class", partial(_schedule, os.SCHED_FIFO)),
        partial(_become, "are nice to nobody", partial(os.setpriority, os.PRIO_PROCESS, 0, -5)),
        partial(_ask_for_disk, set_process, real_time),
    ])  # fmt: skip


def _schedule(policy: int) -> None:
    os.sched_setscheduler(0, policy, os.sched_param(1))


def _ask_for_disk(which: int, priority: int) -> str:
    syscalls.call("ioprio_set", which, 0, priority)
    return "are in the disk's real-time class"


@attack
def be_spared(_targets: Targets) -> str:
    """When the machine's memory runs out, others are to end first."""
    path = Path("/proc/self/oom_score_adj")
    before = int(path.read_text())
    try:
        path.write_text(str(before - 1))
    except OSError as error:
        # root of some machines cannot do it either
        held = syscalls.capabilities()
        if held & _CAP_SYS_ADMIN and not held & _CAP_SYS_RESOURCE:
            raise Absent("not even root may on this machine") from error
        raise
    return f"our place is {path.read_text().strip()} now, it was {before}"


@attack
def forge_credentials(targets: Targets) -> str:
    """The gate believes what the kernel says of a sender: say that we are the neighbour."""
    near = targets.neighbour
    names = ((os.getpid(), near.uid, near.uid), (1, os.getuid(), os.getgid()))
    return any_of([partial(_send_as, *name) for name in names])


def _send_as(pid: int, uid: int, gid: int) -> str:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        said = _CREDENTIALS.pack(pid, uid, gid)
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, _SCM_CREDENTIALS, said)])
        _, received, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
    return f"sent as {_CREDENTIALS.unpack(received[0][2])}"
