"""What a customer meets at the walls: tools work, machine and neighbours are out of sight."""

import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from insula.emperor import lxcfs
from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import UP_OPTIONS, Node, until

pytestmark = pytest.mark.system

# A lxcfs that was killed: uWSGI starts it again, and it mends the containers.
MENDED_SECONDS = 5.0
# The root Emperor wakes what is stopped: after 10 s, looking every 5.
WOKEN_SECONDS = 20.0
HIDDEN = ("key-users", "keys", "kallsyms", "iomem", "interrupts", "cmdline", "partitions")
HIDDEN_DIRECTORIES = ("acpi", "bus", "fs", "irq", "pressure")
PROGRAM = """
#include <stdio.h>
int twice(int number) { return 2 * number; }
int main(void) { printf("%d\\n", twice(21)); return 0; }
"""
PYTHON = """
import multiprocessing, socket, ssl, subprocess, threading
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
with multiprocessing.get_context("fork").Pool(2) as pool: print(sum(pool.map(abs, [-1, 2])))
print(subprocess.check_output(["echo", "child"], text=True), socket.if_nameindex())
"""
WORKS = {
    "python": f"python3 -c {shlex.quote(PYTHON)}",
    "pip": "python3 -m venv venv && venv/bin/pip --version",
    "git": "rm -rf r s && git init -q r && cd r && git -c user.email=a@b -c user.name=a commit -q "
    "--allow-empty -m one && git gc -q && git clone -q . ../s",
    "gcc": "gcc -g -o program program.c && ./program",
    "gdb": "gdb -batch -ex 'break twice' -ex run -ex bt ./program | grep 'number=21'",
    "gdb on a process": "sleep 60 & gdb -batch -p $! -ex bt | grep detached; kill $!",
    "strace": "strace -f -e trace=execve sh -c ./program 2>&1 | grep 'execve(\"./program\"'",
    "node": 'node -e \'require("fs").promises.readFile("program.c").then(() => '
    'console.log(require("child_process").execSync("echo child").toString()))\'',
    "setarch": "setarch -R true",
}
# A guest's node has the small distro.
IS_MINIMAL = "--minimal" in UP_OPTIONS
NOT_IN_MINIMAL = ("gcc", "gdb", "gdb on a process", "strace", "node")


@pytest.fixture(scope="module")
def uid(node: Node) -> int:
    """A container on the default distro, which has compilers and debuggers."""
    made = node.container("demo", "walls", "--memory", "700M")
    node.ssh(made, "cat > program.c", stdin=PROGRAM)
    return made


def test_tools_work_inside(node: Node, uid: int) -> None:
    there = {
        name: line for name, line in WORKS.items() if not IS_MINIMAL or name not in NOT_IN_MINIMAL
    }
    found = {name: node.ssh(uid, f"set -e; {line}", check=False) for name, line in there.items()}
    failed = {name: done.stdout + done.stderr for name, done in found.items() if done.returncode}
    assert failed == {}


def test_every_process_has_the_filter_and_no_right(node: Node, uid: int) -> None:
    node.site(uid, "walls.insula.test", name="walled")
    wanted = {"Seccomp:\t2", "NoNewPrivs:\t1", f"CapBnd:\t{'0' * 16}", f"CapEff:\t{'0' * 16}"}
    pids = processes.processes(node, uid)
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    assert len(statuses) >= 3  # the sub-Emperor, the app's master and a worker
    statuses.append(node.ssh(uid, "cat /proc/self/status").stdout)
    statuses.append(node.insula("enter", str(uid), "--", "cat", "/proc/self/status").stdout)
    for status in statuses:
        assert wanted <= set(status.splitlines()), status


@pytest.mark.parametrize(
    "command",
    [
        "unshare --user --map-root-user true", "unshare --mount true", "mount -t tmpfs x /tmp",
        "nsenter --target $$ --uts true", "dmesg",
    ],
)  # fmt: skip
def test_what_is_the_platforms_is_not_permitted(node: Node, uid: int, command: str) -> None:
    done = node.ssh(uid, command, check=False)
    assert done.returncode != 0
    said = done.stderr + done.stdout
    assert "not permitted" in said or "must be superuser" in said or "denied" in said


def test_a_customer_makes_no_subvolume_that_its_limit_does_not_count(node: Node, uid: int) -> None:
    make = (
        "import fcntl, os\n"
        "for request in (0x5000940E, 0x50009418):\n"
        "    arguments = bytearray(bytes(8) + b'own' + bytes(4085))\n"
        "    try: fcntl.ioctl(os.open('.', 0), request, arguments)\n"
        "    except OSError as error: print(error.errno)\n"
    )
    assert node.ssh(uid, f"python3 -c {shlex.quote(make)}; ls").stdout.split()[:2] == ["1", "1"]


def test_nothing_of_the_machine_is_in_sight(node: Node, uid: int) -> None:
    files = " ".join(f"/proc/{name}" for name in HIDDEN)
    directories = " ".join(f"/proc/{name}" for name in HIDDEN_DIRECTORIES)
    assert node.ssh(uid, f"cat {files}; ls -A {directories} /sys | grep -v :").stdout.strip() == ""
    devices = node.ssh(uid, "ls /dev").stdout.split()
    assert devices == sorted(
        ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
         "urandom", "zero"]
    )  # fmt: skip
    assert node.ssh(uid, "touch /proc/sys/kernel/hostname", check=False).returncode != 0
    mounted = node.ssh(uid, "grep ' /proc/sys ' /proc/self/mountinfo").stdout
    assert mounted.split()[5].startswith("ro,")


def test_its_own_group_is_the_root_of_what_a_container_sees(node: Node, uid: int) -> None:
    own = os.readlink("/proc/self/ns/cgroup")
    app = processes.first_process(node, uid)
    seen = {os.readlink(f"/proc/{app}/ns/cgroup")}
    seen.add(node.ssh(uid, "readlink /proc/self/ns/cgroup").stdout.strip())
    seen.add(
        node.insula("enter", str(uid), "--", "readlink", "/proc/self/ns/cgroup").stdout.strip()
    )
    assert len(seen) == 1 and own not in seen
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        assert node.ssh(uid, "cat /proc/self/cgroup").stdout == "0::/\n"


def test_w_shows_nobody_of_the_machine_or_of_the_neighbours(node: Node, uid: int) -> None:
    lines = node.ssh(uid, "w --no-header; who; cat /run/utmp", check=False).stdout
    assert lines == ""


@pytest.mark.skipif(lxcfs.lack() != "", reason=lxcfs.lack() or "lxcfs can run")
def test_a_container_sees_its_own_figures(node: Node, uid: int) -> None:
    until(lambda: _total(node, uid) == 700, 5 * BUSY, "free shows the container's memory")
    # 100 % of one processor; the app's environment is the boot's, a session's the doorway's
    assert node.ssh(uid, "nproc").stdout == node.insula("enter", str(uid), "--", "nproc").stdout
    assert node.ssh(uid, "nproc").stdout == "1\n"
    up = float(node.ssh(uid, "cut -d. -f1 /proc/uptime").stdout)
    assert up < float(Path("/proc/uptime").read_text().split()[0]) - 30


@pytest.mark.skipif(lxcfs.lack() != "", reason=lxcfs.lack() or "lxcfs can run")
def test_a_killed_lxcfs_comes_back_and_stops_no_container(node: Node, uid: int) -> None:
    first = processes.first_process(node, uid)
    os.kill(int((node.paths.run / "lxcfs.pid").read_text()), signal.SIGKILL)
    killed = time.monotonic()
    node.answers("walls.insula.test", 200, within=5)
    until(lambda: _total(node, uid) == 700, MENDED_SECONDS * BUSY, "free works again")
    print(f"own figures again after {time.monotonic() - killed:.1f} s")
    assert processes.first_process(node, uid) == first
    covers = node.ssh(uid, "grep -c fuse.lxcfs /proc/self/mountinfo").stdout
    assert int(covers) == len(lxcfs.FILES)


@pytest.mark.skipif(lxcfs.lack() != "", reason=lxcfs.lack() or "lxcfs can run")
def test_a_container_boots_while_lxcfs_is_away(node: Node, uid: int) -> None:
    pid_file = node.paths.run / "lxcfs.pid"
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    node.insula("container", "reboot", str(uid))
    until(lambda: _total(node, uid) == 700, MENDED_SECONDS * BUSY, "it has its own figures")


@pytest.mark.skipif(lxcfs.lack() != "", reason=lxcfs.lack() or "lxcfs can run")
def test_a_stopped_lxcfs_is_woken_and_its_readers_only_waited(node: Node, uid: int) -> None:
    pid = int((node.paths.run / "lxcfs.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        until(lambda: _state(pid) == "T", BUSY, "lxcfs is stopped")
        until(lambda: _state(pid) != "T", WOKEN_SECONDS * BUSY, "lxcfs is woken")
        print(f"woken after {time.monotonic() - stopped:.1f} s")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert _total(node, uid) == 700


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _total(node: Node, uid: int) -> int:
    words = node.ssh(uid, "free --mebi", check=False).stdout.split()
    return int(words[words.index("Mem:") + 1]) if "Mem:" in words else 0
