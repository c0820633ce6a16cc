"""A node's routing half for kernel tests: the real router, pages and gate, and tiny apps.

Everything runs below one anchor process in pid, mount and network namespaces of its own: when the
anchor ends, and it ends with the test run, the kernel takes all of it away.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from insula.emperor import credentials, prepare, rundir, uwsgi_build
from insula.emperor.kernel import libc, privileges
from insula.emperor.kernel.process import Children
from insula.emperor.settings import DOMINATOR_UID, ROUTER_UID, Node, NodeSettings, Paths
from insula.emperor.storage import layout
from insula.vassals import identity
from tests import places
from tests.kernel.announcing import FakeFeed

ROOT = Path("/tmp/insula-routed-node")
HTTP, HTTPS = 18480, 18443
T = TypeVar("T")


@dataclass
class RoutedNode:
    """The running half of a node; ``inside`` runs commands in its namespaces."""

    node: Node
    feed: FakeFeed
    uwsgi: Path
    anchor: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def paths(self) -> Paths:
        return self.node.paths

    def inside(self, *argv: object) -> list[str]:
        """The command line that runs ``argv`` in the node's namespaces."""
        return ["nsenter", f"--target={self.anchor}", "--mount", "--pid", "--net", "--",
                *map(str, argv)]  # fmt: skip

    def run(self, *argv: object) -> str:
        done = subprocess.run(self.inside(*argv), check=True, capture_output=True, text=True)
        return done.stdout

    def start(self, name: str, *argv: object) -> int:
        """Start a process that lasts; return its pid as the node's own /proc shows it."""
        told = ROOT / f"{name}.pid"
        told.unlink(missing_ok=True)
        shell = 'echo $$ > "$0.new" && mv "$0.new" "$0" && exec "$@"'
        with (ROOT / f"{name}.log").open("ab") as log:
            self.started.append(
                subprocess.Popen(
                    self.inside("/bin/sh", "-c", shell, told, *argv),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                )  # fmt: skip
            )
        return int(eventually(lambda: told.exists() and told.read_text()))

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a pid of the node's own pid namespace, wait until SIGKILL has worked."""
        self.run("/bin/kill", f"-{int(number)}", pid)
        if number == signal.SIGKILL:
            eventually(lambda: not self.is_alive(pid))

    def is_alive(self, pid: int) -> bool:
        found = subprocess.run(self.inside("/bin/kill", "-0", pid), capture_output=True)
        return found.returncode == 0

    def log(self, name: str) -> str:
        return (ROOT / f"{name}.log").read_text(errors="replace")

    def start_router(self) -> int:
        return self.start("router", self.uwsgi, "--ini", self.paths.services / "router.ini")

    def start_gate(self) -> int:
        return self.start(
            "gate", sys.executable, "-m", "insula.dominator", "--root", self.paths.root
        )

    def kill_tree(self, pid: int) -> None:
        """Kill a uWSGI master, then the workers that it leaves: an Emperor ends those itself."""
        children = self._children(pid)
        self.kill(pid)
        for child in children:
            if self.is_alive(child):
                self.kill(child)

    def router_master(self) -> int:
        return int((self.paths.router / "router.pid").read_text())

    def router_children(self) -> list[int]:
        """The router's own processes, the master left out."""
        return self._children(self.router_master())

    def _children(self, pid: int) -> list[int]:
        return [int(child) for child in self.run("pgrep", "-P", pid).split()]

    def app(self, name: str, uid: int, *, address: str = "") -> int:
        """An app of ours without a language: each answer's X-Who says what reached it."""
        where = address or str(places.sockets(self.paths, uid) / f"{name}.sock")
        who = (
            f"app={name} host=${{HTTP_HOST}} proto=${{HTTP_X_FORWARDED_PROTO}} "
            "for=${HTTP_X_FORWARDED_FOR} real=${HTTP_X_REAL_IP} std=${HTTP_FORWARDED} "
            "proxy=${HTTP_PROXY} https=${HTTPS} uri=${REQUEST_URI} end"
        )
        pid = self.start(
            f"app-{name}", self.uwsgi, "--socket", where, "--chmod-socket=666",
            "--uid", uid, "--gid", uid, "--chown-socket", f"{uid}:{ROUTER_UID}",
            "--buffer-size=32768", "--disable-logging",
            "--route-run", f"addheader:X-Who: {who}",
            "--route-run", f"file:filename={ROOT / 'answer.txt'},status=200 OK",
            "--route-run", "last:",
        )  # fmt: skip
        if not address:
            eventually(Path(where).is_socket)
        return pid

    def connect(self, port: int = HTTP, host: str = "127.0.0.1") -> socket.socket:
        """A connection in the node's network namespace."""
        return in_network(self.anchor, lambda: socket.create_connection((host, port), timeout=5))


def eventually(found: Callable[[], T], *, seconds: float = 8.0, about: str = "") -> T:
    """Ask until the answer is true; the answer. Fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {about or found}")
        time.sleep(0.02)
    return answer


def in_network(pid: int, work: Callable[[], T]) -> T:
    """Do the work in a thread that entered the process's network namespace."""

    def enter() -> None:
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            libc.call("setns", fd, libc.CLONE_NEWNET, about="entering the test's network")
        finally:
            os.close(fd)

    with ThreadPoolExecutor(1, initializer=enter) as pool:
        return pool.submit(work).result()


@contextmanager
def routed_node() -> Iterator[RoutedNode]:
    """Router with two processes, pages and gate, started and answering."""
    _sweep()
    node = Node(
        Paths(ROOT),
        NodeSettings(
            base_domain="base.test", network="10.214.0.0/16", http_port=HTTP, https_port=HTTPS,
            ssh_port=18422, storage="dir",
        ),
    )  # fmt: skip
    feed = FakeFeed()
    with _anchor() as anchor, feed.serving(_files(node)):
        routed = RoutedNode(node, feed, uwsgi_build.build(node.paths, print), anchor)
        try:
            _start(routed)
            yield routed
        finally:
            os.kill(anchor, signal.SIGKILL)
            for process in routed.started:
                process.wait(10)
    _sweep()


def _start(routed: RoutedNode) -> None:
    paths = routed.paths
    routed.run("ip", "link", "set", "lo", "up")
    for uid in (30001, 30002, 30003):
        address = identity.address_of(uid, routed.node.settings.ip_network)
        routed.run("ip", "address", "add", f"{address}/32", "dev", "lo")
    routed.run("mount", "--bind", paths.containers, paths.apps)
    routed.run("mount", "-o", "remount,bind,nosymfollow", paths.apps)
    for name in ("pages", "pages-absent"):
        routed.start(name, routed.uwsgi, "--ini", paths.services / f"{name}.ini")
    routed.start_router()
    routed.start_gate()
    eventually(lambda: "table replayed" in routed.log("gate"), about="the gate's start")


def _files(node: Node) -> Path:
    """Lay the node's directories and files down; the API's socket path."""
    paths = node.paths
    for path in (paths.etc, paths.lib, paths.run):
        path.mkdir(parents=True, exist_ok=True)
    for path, mode, owner, group in rundir.directories(paths):
        rundir.directory(path, mode=mode, owner=owner, group=group)
    (ROOT / "answer.txt").write_text("from an app\n")
    paths.node_toml.write_text(node.settings.to_toml())
    paths.local_json.write_text(
        '{"installation": "local", "revision": 0, "containers": [], "customers": [], "domains": []}'
    )
    values = prepare.tokens(node, venv=Path(sys.prefix), cpu_count=2)
    for services in (False, True):
        prepare.install(node, values, running=None, services=services)
    credentials.make(node, now=datetime.now(UTC))
    for uid in (30001, 30002, 30003):
        rundir.directory(paths.subscribe(uid), mode=0o755, owner=DOMINATOR_UID, group=DOMINATOR_UID)
        rundir.directory(paths.containers, mode=0o755)
        rundir.directory(paths.containers / str(uid), mode=0o700)
        layout.fill(paths.containers / str(uid), uid)
    return paths.api_node / "api.sock"


@contextmanager
def _anchor() -> Iterator[int]:
    """The first process of a pid namespace; when it ends the kernel kills all others."""
    argv = (
        "unshare", "--mount", "--pid", "--net", "--fork", "--kill-child=SIGKILL", "--mount-proc",
        "--", "/bin/sh", "-c", "trap : TERM; while :; do sleep 1000 & wait; done",
    )  # fmt: skip
    outer = subprocess.Popen(
        argv,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: privileges.end_with_parent(signal.SIGKILL),
    )
    children = Children()
    try:
        (pid,) = eventually(lambda: children.of(outer.pid))
        # by then it has the /proc of its own namespace
        eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "sh\n")
        yield pid
    finally:
        outer.kill()
        outer.wait(10)


def _sweep() -> None:
    """Take away what this or a killed run left; its processes and mounts ended with the anchor."""
    shutil.rmtree(ROOT, ignore_errors=True)
