"""A real little container without uWSGI: own namespaces, cgroup and root, a sleeping pid 1."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from insula.emperor import prepare
from insula.emperor.kernel import libc, namespaces, privileges
from insula.emperor.settings import Node, NodeSettings, Paths

CGROUPS = Path("/sys/fs/cgroup")
IS_V2 = (CGROUPS / "cgroup.controllers").exists()
HIERARCHIES = (CGROUPS,) if IS_V2 else tuple(CGROUPS / name for name in ("pids", "memory", "cpu"))
# How a process of the container sees that it is in the container's own group.
OWN_GROUP = "0::/" if IS_V2 else ":pids:/"
PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 32, 4096, 0x4000


@dataclass(slots=True)
class Container:
    """A running little container and how to end it."""

    uid: int
    cgroups: tuple[Path, ...]
    outer: subprocess.Popen[bytes]
    pid: int

    def finish_boot(self) -> None:
        """Let a container that was started with ``booting`` go on."""
        assert self.outer.stdin is not None
        self.outer.stdin.write(b"\n")
        self.outer.stdin.flush()
        _expect(self.outer, b"ready\n")

    def end(self) -> None:
        """Kill its first process, and so all of it; idempotent."""
        if self.outer.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.outer.wait(10)
        for stream in (self.outer.stdin, self.outer.stdout):
            if stream is not None:
                stream.close()


def node_below(root: Path, *, ssh_port: int = 2222) -> Node:
    """A node's directories, as far as entering a container needs them."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    node = Node(Paths(root), NodeSettings(ssh_port=ssh_port))
    paths = node.paths
    for directory in (paths.etc, paths.run / "cgroups", paths.containers, paths.extrausers):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    paths.node_toml.write_text(node.settings.to_toml())
    prepare.install_seccomp(node)
    return node


def add_account(node: Node, uid: int) -> None:
    """What the configurator writes for one container: home, names outside and inside."""
    paths = node.paths
    for directory in (paths.containers / str(uid), paths.container_files(uid)):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    home = paths.containers / str(uid) / "home"
    home.mkdir(mode=0o755)
    os.chown(home, uid, uid)
    line = f"{uid}:x:{uid}:{uid}::/containers/{uid}:/bin/bash\n"
    for place in (paths.extrausers, paths.container_files(uid)):
        (place / "passwd").write_text(f"root:x:0:0:root:/root:/bin/sh\n{line}")
        (place / "group").write_text(f"root:x:0:\ntty:x:5:\n{uid}:x:{uid}:\n")
    with (paths.container_files(uid) / "group").open("a") as file:
        file.write(f"extra:x:30777:{uid}\n")
    (paths.extrausers / "passwd").write_text(line)
    (paths.extrausers / "group").write_text(f"{uid}:x:{uid}:\n")
    (paths.extrausers / "shadow").write_text(f"{uid}:*:19000:0:99999:7:::\n")


@contextlib.contextmanager
def container(node: Node, uid: int, *, booting: bool = False) -> Iterator[Container]:
    """Boot a container for ``uid`` and end it, with its cgroups, whatever happens."""
    cgroups = tuple(root / f"insula-test-{os.getpid()}" / str(uid) for root in HIERARCHIES)
    for cgroup in cgroups:
        cgroup.mkdir(parents=True)
    node.paths.cgroups(uid).write_text("".join(f"{cgroup}\n" for cgroup in cgroups))
    top = node.paths.run / "roots" / str(uid)
    top.mkdir(parents=True)
    home = node.paths.containers / str(uid) / "home"
    order = {
        "uid": uid, "top": str(top), "home": str(home), "booting": booting,
        "files": str(node.paths.container_files(uid)), "cgroups": [str(item) for item in cgroups],
    }  # fmt: skip
    outer = subprocess.Popen(
        [sys.executable, __file__, json.dumps(order)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    box = Container(uid, cgroups, outer, 0)
    try:
        box.pid = int(_line(outer))
        _expect(outer, b"booting\n" if booting else b"ready\n")
        yield box
    finally:
        if box.pid:
            box.end()
        else:
            outer.kill()
            box.end()
        remove_cgroups(cgroups)
        top.rmdir()


def remove_cgroups(cgroups: tuple[Path, ...]) -> None:
    """Kill what is left in the groups, then remove them and their parents."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pids = [pid for item in cgroups for pid in (item / "cgroup.procs").read_text().split()]
        if not pids:
            break
        for pid in set(pids) - {str(os.getpid())}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
    for item in cgroups:
        item.rmdir()
        with contextlib.suppress(OSError):
            item.parent.rmdir()


def _line(outer: subprocess.Popen[bytes]) -> bytes:
    assert outer.stdout is not None
    if not select.select([outer.stdout], [], [], 10)[0]:
        raise TimeoutError("the little container does not boot")
    # Unbuffered: select must not miss a line that lies in a buffer.
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(outer.stdout.fileno(), 1)
        if not byte:
            raise EOFError("the little container ended at its boot")
        line += byte
    return line


def _expect(outer: subprocess.Popen[bytes], wanted: bytes) -> None:
    found = _line(outer)
    assert found == wanted, found


def _mount(what: str, where: Path, kind: str | None, flags: int, data: str = "") -> None:
    libc.call(
        "mount", what.encode(), os.fsencode(where), kind.encode() if kind else None, flags,
        data.encode() or None, about=f"mounting {where}",
    )  # fmt: skip


def _bind(source: Path, target: Path, flags: int = 0) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.touch()
    _mount(str(source), target, None, MS_BIND)
    if flags:
        _mount("none", target, None, MS_BIND | MS_REMOUNT | flags)


def _build(top: Path, uid: int, home: Path, files: Path) -> None:
    _mount("tmpfs", top, "tmpfs", MS_NOSUID, "mode=755")
    for name in PROGRAMS:
        place = Path("/") / name
        if place.is_symlink():
            (top / name).symlink_to(os.readlink(place))
        elif place.is_dir():
            _bind(place, top / name, MS_RDONLY | MS_NOSUID | MS_NODEV)
    _bind(home, top / "containers" / str(uid), MS_NOSUID | MS_NODEV)
    (top / "etc").mkdir()
    for name in ("passwd", "group"):
        _bind(files / name, top / "etc" / name, MS_RDONLY)
    # A root process that believed this file would load what the image offers, and find no group.
    (top / "etc/nsswitch.conf").write_text("passwd: files\ngroup: hostile\nhosts: files\n")
    (top / "etc/hosts").write_text("127.0.0.1 localhost\n")
    for name in ("dev/pts", "proc", "tmp", "run", "var"):
        (top / name).mkdir(parents=True)
    (top / "tmp").chmod(0o1777)
    (top / "var/run").symlink_to("/run")
    for name in DEVICES:
        _bind(Path("/dev") / name, top / "dev" / name)
    _mount("devpts", top / "dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    (top / "dev/ptmx").symlink_to("pts/ptmx")
    _mount("proc", top / "proc", "proc", 0, "hidepid=2")
    _mount("none", top, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)


def _first_process(order: dict[str, str], *, booting: bool) -> None:
    uid, top = int(order["uid"]), Path(order["top"])
    libc.call("sethostname", b"little", 6, about="naming the container")
    _build(top, uid, Path(order["home"]), Path(order["files"]))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    namespaces.switch_root(top)
    if booting:
        os.write(1, b"booting\n")
        os.read(0, 1)
    privileges.become(uid)
    os.write(1, b"ready\n")
    while True:
        time.sleep(0.05)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)


def _boot(order: dict[str, str], cgroups: list[str], *, booting: bool) -> int:
    for cgroup in cgroups:
        (Path(cgroup) / "cgroup.procs").write_text("0")
    libc.call("unshare", namespaces.ALL, about="making namespaces")
    libc.call("mount", b"none", b"/", None, MS_REC | namespaces.MS_PRIVATE, None, about="private")
    pid = os.fork()
    if pid == 0:
        try:
            # Nobody may ask for the parent's namespaces: the test may be killed at any time.
            privileges.end_with_parent(signal.SIGKILL)
            _first_process(order, booting=booting)
        finally:
            os._exit(1)
    os.write(1, f"{pid}\n".encode())
    os.waitpid(pid, 0)
    return 0


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    sys.exit(_boot(told, told["cgroups"], booting=told["booting"]))
