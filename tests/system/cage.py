"""A running container, entered with some of its walls left out and all the others standing.

It shows that an attack is one: it gets through as soon as the walls that the threat model names are
gone. `python -m tests.system.cage ORDER.json` is the process that goes in.
"""

import contextlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks.contract import Outcome
from insula.emperor.kernel import firewall, libc, mounts, namespaces, privileges, syscalls
from insula.emperor.settings import Paths
from insula.emperor.storage import ioctl
from tests import places

NAMESPACES = {
    "own-root": namespaces.CLONE_NEWNS,
    "own-pids": namespaces.CLONE_NEWPID,
    "own-ipc": namespaces.CLONE_NEWIPC,
    "own-network": namespaces.CLONE_NEWNET,
    "own-cgroups": namespaces.CLONE_NEWCGROUP,
    "own-names": namespaces.CLONE_NEWUTS,
}
# What is aimed at the neighbour's network itself, and not at the machine's.
NEXT_DOOR = {"connect-abstract-socket"}
CONTROLLERS = {"pids-limit": "pids", "memory-limit": "memory", "cpu-limit": "cpu"}
# What a fresh /proc, a machine's /dev and /sys need to stand in for the container's.
PROC = {"own-pids", "hidepid", "proc-masks", "sysctls"}
HARMLESS = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "tty": (5, 0),
}  # fmt: skip
POWERFUL = {"mem": (1, 1), "kmsg": (1, 11), "loop-control": (10, 237), "fuse": (10, 229)}
BLOCK = {"loop0": (7, 0)}
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
PLACED = {("run", "insula"), ("run", "keys"), ("run", "subscribe")}
METADATA = "169.254.169.254"
PR_SET_KEEPCAPS, PR_CAP_AMBIENT_RAISE = 8, 2
CAPSET, CAPABILITY_VERSION = (126 if os.uname().machine == "x86_64" else 91), 0x20080522
# What holds for the whole node, taken down by the test and not by who goes in.
OUTSIDE = {"firewall", "disk-limit", "sealed-distro", "own-address", "no-ipv6"}
INSIDE = {
    *NAMESPACES, *CONTROLLERS, *PROC, "read-only-root", "nosuid", "devices", "empty-sys", "own-uid",
    "no-capabilities", "no-new-privileges", "system-calls", "descriptors", "terminals", "no-cores",
    "no-set-uid", "read-only-files",
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """Who goes in where, and which walls are left out."""

    root: str
    uid: int
    neighbour: int
    off: list[str]
    words: list[str]  # the program's; ``HOME`` in them is the home where it is seen


def attack(made: Arena, name: str, off: set[str]) -> Outcome:
    """Run one attack of the arena's attacker with these walls off. KeyError for an unknown wall."""
    unknown = off - INSIDE - OUTSIDE
    if unknown:
        raise KeyError(f"the cage cannot leave out {unknown}")
    order = Order(
        root=str(made.node.paths.root), uid=made.attacker.uid, neighbour=made.victim.uid,
        off=sorted(off),
        words=["HOME/attacks.pyz", "HOME/targets.json", name],
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        if "firewall" in off:
            stack.enter_context(_without_firewall(made))
        if "disk-limit" in off:
            stack.enter_context(_without_disk_limit(made))
        if "sealed-distro" in off:
            stack.enter_context(_unsealed(made))
        if "own-address" in off:
            stack.enter_context(_changed(_own_address(made), to="0"))
        if "no-ipv6" in off:
            stack.enter_context(_changed(_ipv6_switches(made), to="0"))
        done = _go(order)
    lines = done.stdout.splitlines()
    if not lines:
        return Outcome(name, "failed", f"exit {done.returncode}: {done.stderr[-400:]}", 0.0)
    return Outcome(**json.loads(lines[-1]))


def _go(order: Order) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(order), file)
        file.flush()
        return subprocess.run(
            [sys.executable, "-m", "tests.system.cage", file.name],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


@contextlib.contextmanager
def _without_firewall(made: Arena) -> Iterator[None]:
    """The node's table emptied, and a metadata service that would answer."""
    node = made.node
    kept = firewall.ruleset(
        table=node.nft_table, prefix=node.link_prefix, network=node.settings.ip_network,
        gateway=node.settings.gateway,
    )  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-c", _METADATA_SERVER], stdout=subprocess.PIPE, text=True
    )
    _run("ip", "address", "replace", f"{METADATA}/32", "dev", "lo")
    # Emptied, not removed: the configurator makes a table that is gone again.
    firewall.load(f"flush table inet {node.nft_table}\n")
    try:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        yield
    finally:
        firewall.load(kept)
        _run("ip", "address", "delete", f"{METADATA}/32", "dev", "lo")
        server.kill()
        server.communicate()


_METADATA_SERVER = f"""
import socket, time
for _ in range(100):
    try:
        server = socket.create_server(("{METADATA}", 80))
        break
    except OSError:
        time.sleep(0.02)
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nmetadata")
    connection.close()
"""


@contextlib.contextmanager
def _without_disk_limit(made: Arena) -> Iterator[None]:
    pool, group = made.node.paths.pool, ioctl.group_of(made.attacker.uid)
    ioctl.limit(pool, group, 1 << 40)
    try:
        yield
    finally:
        ioctl.limit(pool, group, made.targets.own.disk_bytes)


@dataclass(frozen=True)
class Sysctl:
    """A network switch, in the machine's network or in a container's."""

    name: str
    inside: Path | None = None  # the network namespace's file

    def set(self, value: str) -> str:
        """Returns the value before."""
        enter = ["nsenter", f"--net={self.inside}"] if self.inside else []
        before = _run(*enter, "cat", f"/proc/sys/net/{self.name}").strip()
        _run(*enter, "tee", f"/proc/sys/net/{self.name}", text=value)
        return before


@contextlib.contextmanager
def _changed(switches: list[Sysctl], *, to: str) -> Iterator[None]:
    before = [(switch, switch.set(to)) for switch in switches]
    try:
        yield
    finally:
        for switch, value in reversed(before):
            switch.set(value)


def _own_address(made: Arena) -> list[Sysctl]:
    return [Sysctl(f"ipv4/conf/{made.node.link_prefix}{made.attacker.uid}/rp_filter")]


def _ipv6_switches(made: Arena) -> list[Sysctl]:
    """Both ends of both links. An address counts at once when nobody looks for its double first."""
    found: list[Sysctl] = []
    if not Path("/proc/sys/net/ipv6").exists():
        return found  # and the attack says that there is none
    for side in (made.attacker, made.victim):
        ends = [
            (f"{made.node.link_prefix}{side.uid}", None),
            ("eth0", made.node.paths.netns(side.uid)),
        ]
        for link, inside in ends:
            for key in ("accept_dad", "disable_ipv6"):
                found.append(Sysctl(f"ipv6/conf/{link}/{key}", inside))
    return found


@contextlib.contextmanager
def _unsealed(made: Arena) -> Iterator[None]:
    """The distros' trees writable below their mounts; nothing is written while they are."""
    trees = [tree for tree in (made.node.paths.pool / "distros").iterdir() if not tree.is_symlink()]
    trees = [tree for tree in trees if tree.is_dir()]
    for tree in trees:
        ioctl.set_readonly(tree, readonly=False)
    try:
        yield
    finally:
        for tree in trees:
            ioctl.set_readonly(tree, readonly=True)


def _run(*words: str, text: str = "") -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


# ---- the process that goes in --------------------------------------------------------------------


def main(order: Order) -> None:
    """Enter; a child does the work, since a pid namespace counts for children only."""
    off, paths = set(order.off), Paths(Path(order.root))
    program = syscalls.read_filter(paths.seccomp)
    door = namespaces.find(paths.cgroups(order.uid), uid=order.uid)
    beside = namespaces.find(paths.cgroups(order.neighbour), uid=order.neighbour)
    home = Path(f"/containers/{order.uid}")
    if "own-root" in off:
        home = places.home(paths, order.uid)
    if "descriptors" in off:
        os.set_inheritable(os.open("/", os.O_RDONLY | os.O_DIRECTORY), True)
    _join(door.cgroups, off)
    wanted = namespaces.ALL
    for name, flag in NAMESPACES.items():
        wanted &= ~flag if name in off else ~0
    libc.call("setns", door.pidfd, wanted, about="entering the container")
    _share(beside.pidfd, off, order.words[-1])
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    if "own-root" not in off:
        namespaces.private_mounts()
        _alter_mounts(off, home)
    os.chdir(home)
    _drop(order.uid, off, program)
    words = [word.replace("HOME", str(home)) for word in order.words]
    environment = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    os.execve("/usr/bin/python3", ["python3", *words], environment)


def _join(cgroups: tuple[Path, ...], off: set[str]) -> None:
    skipped = {CONTROLLERS[name] for name in off & set(CONTROLLERS)}
    for group in cgroups:
        # on cgroup v2 one group has all limits
        if not skipped or (len(cgroups) > 1 and not skipped & set(group.parts)):
            (group / "cgroup.procs").write_text("0")


def _share(neighbour: int, off: set[str], name: str) -> None:
    """What the neighbour is in, too, where all are in one; else the machine's own."""
    shared = namespaces.CLONE_NEWIPC if "own-ipc" in off else 0
    if "own-network" in off and name in NEXT_DOOR:
        shared |= namespaces.CLONE_NEWNET
    if shared:
        libc.call("setns", neighbour, shared, about="sharing the neighbour's namespaces")


def _alter_mounts(off: set[str], home: Path) -> None:
    if off & PROC:
        _fresh_proc(off)
    if "empty-sys" in off:
        _mount("sysfs", "/sys", "sysfs")
    if off & {"read-only-root", "nosuid"}:
        flags = MS_REMOUNT | MS_BIND | MS_NODEV
        flags |= 0 if "read-only-root" in off else MS_RDONLY
        flags |= 0 if "nosuid" in off else MS_NOSUID
        _mount("none", "/", None, flags)
    if "read-only-files" in off:
        for point in mounts.points():
            if point.parts[1:2] == ("etc",) or point.parts[1:3] in PLACED:
                _mount("none", str(point), None, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV)
    if "no-set-uid" in off:
        _set_uid_program(nosuid="nosuid" not in off)
    if "devices" in off:
        _machines_devices(home)
    if "terminals" in off:
        _mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5")


def _fresh_proc(off: set[str]) -> None:
    """Another /proc, with those of its covers again that are not left out."""
    option = "hidepid=0" if "hidepid" in off else "hidepid=2"
    _mount("proc", "/proc", "proc", 0, option)
    # what lay over the one below; that one has no /proc/self for who left its pid namespace
    covers = [path for path in mounts.points() if path.is_relative_to("/proc")]
    for path in covers:
        if path == Path("/proc/sys") and "sysctls" not in off:
            _mount("/proc/sys", "/proc/sys", None, MS_BIND)
            _mount("none", "/proc/sys", None, MS_REMOUNT | MS_BIND | MS_RDONLY)
        elif path.parent == Path("/proc") and path.name != "sys" and "proc-masks" not in off:
            if path.is_dir():
                _mount("tmpfs", str(path), "tmpfs", MS_RDONLY)
            elif path.exists():
                _mount("/dev/null", str(path), None, MS_BIND)


def _set_uid_program(*, nosuid: bool) -> None:
    """One in sight, which any program is that belongs to root and says so."""
    _mount("tmpfs", "/mnt", "tmpfs", MS_NODEV | (MS_NOSUID if nosuid else 0))
    program = Path(shutil.copy("/usr/bin/true", "/mnt/true"))
    program.chmod(0o4755)


def _machines_devices(home: Path) -> None:
    """Devices count everywhere, and /dev has what a machine's has."""
    for point in (str(home), "/tmp"):
        _mount("none", point, None, MS_REMOUNT | MS_BIND | MS_NOSUID)
    _mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_RDONLY)
    _mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=0755")
    for name, number in (HARMLESS | POWERFUL).items():
        os.mknod(f"/dev/{name}", 0o660 | stat.S_IFCHR, os.makedev(*number))
    for name, number in BLOCK.items():
        os.mknod(f"/dev/{name}", 0o660 | stat.S_IFBLK, os.makedev(*number))
    for name in HARMLESS:
        os.chmod(f"/dev/{name}", 0o666)


def _mount(
    source: str, target: str, kind: str | None, flags: int = 0, options: str | None = None
) -> None:
    libc.call(
        "mount", source.encode(), target.encode(), kind.encode() if kind else None, flags,
        options.encode() if options else None, about=f"mounting {target}",
    )  # fmt: skip


def _drop(uid: int, off: set[str], program: bytes) -> None:
    """Let go of what the standing walls take: filter, uid, capabilities."""
    privileges.leave_keyring()
    early = "no-new-privileges" in off and "system-calls" not in off
    if early:
        syscalls.apply_filter(program)
    if "no-cores" not in off:
        privileges.forgo_cores()
    if "no-capabilities" not in off:
        privileges.empty_bounding_set()
    elif "own-uid" not in off:
        libc.call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0, about="keeping capabilities")
    if "own-uid" not in off:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        if "no-capabilities" in off:
            _raise_capabilities()
    elif "no-capabilities" not in off:
        # the program lies in the home, which is the uid's and its group's alone
        os.setgroups([uid])
        _set_capabilities(0)
    if "no-new-privileges" not in off:
        libc.call("prctl", privileges.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, about="no new privileges")
    if "system-calls" not in off and not early:
        syscalls.apply_filter(program)


def _raise_capabilities() -> None:
    every = int(_status("CapBnd"), 16)
    _set_capabilities(every)
    for number in range(64):
        if every >> number & 1:
            libc.call(
                "prctl", privileges.PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0,
                about="raising a capability",
            )  # fmt: skip


def _set_capabilities(every: int) -> None:
    low, high = every & 0xFFFFFFFF, every >> 32
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    data = struct.pack("=6I", low, low, low, high, high, high)
    libc.call("syscall", CAPSET, header, data, about="setting capabilities")


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main(Order(**json.loads(Path(sys.argv[1]).read_text())))
