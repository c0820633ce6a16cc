"""The collector as a process: no rights, real cgroups and sockets, and how much it costs."""

import json
import os
import shutil
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from insula.emperor.daemon.http import UnixConnection
from insula.emperor.kernel import cgroup
from insula.emperor.settings import COLLECTOR_UID, NODE_GID, Node, NodeSettings, Paths
from tests.patience import BUSY

pytestmark = pytest.mark.kernel

CUSTOMER, UID = 7, 30001
LIMITS = cgroup.Limits(memory_bytes=64 << 20, cpu_percent=50, pids_max=32)


class FakeApi(socketserver.UnixStreamServer):
    """Takes samples on the node's socket and keeps them."""

    def __init__(self, path: Path) -> None:
        self.samples: list[dict[str, Any]] = []
        super().__init__(str(path), FakeApiHandler)
        os.chmod(path, 0o666)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __repr__(self) -> str:
        return f"FakeApi({self.samples})"


class FakeApiHandler(BaseHTTPRequestHandler):
    server: FakeApi

    def do_POST(self) -> None:
        assert self.path == "/api/v1/node/samples"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.samples += json.loads(body)["samples"]
        self.send_response(204)
        self.end_headers()

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def node() -> Iterator[Node]:
    """A node's run directory as `node up` makes it, as far as the collector sees it."""
    root = Path(tempfile.mkdtemp(prefix=f"insula-col-{os.getpid()}-", dir="/tmp"))
    root.chmod(0o755)
    found = Node(Paths(root), NodeSettings())
    try:
        found.paths.etc.mkdir(parents=True)
        found.paths.node_toml.write_text(found.settings.to_toml())
        for path in (found.paths.cgroups(0).parent, found.paths.api_node, found.paths.router):
            path.mkdir(parents=True)
        found.paths.collector.mkdir()
        os.chown(found.paths.collector, COLLECTOR_UID, COLLECTOR_UID)
        yield found
    finally:
        shutil.rmtree(root)


@pytest.fixture
def first_process(node: Node) -> Iterator[int]:
    """A sleeping process in the real cgroups of container 30001."""
    groups = cgroup.detect(node.cgroup_name)
    try:
        groups.prepare()
        groups.limit(CUSTOMER, UID, LIMITS)
        directories = groups.directories(CUSTOMER, UID)
        node.paths.cgroups(UID).write_text("".join(f"{path}\n" for path in directories))
        with subprocess.Popen(["sleep", "120"]) as process:
            try:
                for path in directories:
                    (path / "cgroup.procs").write_text(str(process.pid))
                yield process.pid
            finally:
                process.kill()
    finally:
        groups.reap(CUSTOMER, UID)
        groups.release()


@contextmanager
def collector(node: Node) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon; its socket is there."""
    command = [sys.executable, "-m", "insula.collector", "--root", str(node.paths.root)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until((node.paths.collector / "metrics.sock").exists)
            yield process
        finally:
            process.kill()


def wait_until(is_true: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def scrape(node: Node, url: str = "/metrics") -> tuple[int, str]:
    connection = UnixConnection(node.paths.collector / "metrics.sock", 10.0)
    connection.request("GET", url)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def values(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


@pytest.mark.usefixtures("first_process")
def test_a_running_containers_figures_are_served(node: Node) -> None:
    with collector(node):
        status, text = scrape(node)
    found = values(text)
    labels = f'{{container="{UID}",customer="{CUSTOMER}"}}'
    assert status == 200
    assert found[f"insula_container_up{labels}"] == 1
    assert found[f"insula_container_pids{labels}"] == 1
    assert found[f"insula_container_memory_limit_bytes{labels}"] == LIMITS.memory_bytes
    assert f"insula_container_cpu_seconds_total{labels}" in found
    assert f"insula_container_memory_oom_kills_total{labels}" in found
    assert found["insula_node_containers"] == 1


def test_a_container_whose_process_ended_is_down(node: Node, first_process: int) -> None:
    with collector(node):
        os.kill(first_process, signal.SIGKILL)
        os.waitid(os.P_PID, first_process, os.WEXITED | os.WNOWAIT)
        up = f'insula_container_up{{container="{UID}",customer="{CUSTOMER}"}}'
        os.waitpid(first_process, 0)
        assert values(scrape(node)[1])[up] == 0


@pytest.mark.usefixtures("first_process")
def test_samples_reach_the_api_at_the_start(node: Node) -> None:
    with FakeApi(node.paths.api_node / "api.sock") as api:
        try:
            with collector(node):
                wait_until(lambda: bool(api.samples))
        finally:
            api.shutdown()
    subjects = {(item["metric"], item["subject"]) for item in api.samples}
    assert ("insula_container_up", str(UID)) in subjects
    assert ("insula_node_load1", "node") in subjects


def test_the_collector_has_no_right_of_its_own(node: Node) -> None:
    with collector(node) as process:
        scrape(node)
        status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(COLLECTOR_UID)] * 4
    assert fields["Gid"].split() == [str(NODE_GID)] * 4
    assert fields["Groups"].split() == []
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0


def test_the_socket_is_for_root_and_the_nodes_group_alone(node: Node) -> None:
    with collector(node):
        found = (node.paths.collector / "metrics.sock").stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert (found.st_uid, found.st_gid) == (COLLECTOR_UID, NODE_GID)


def test_another_address_is_not_found(node: Node) -> None:
    with collector(node):
        assert scrape(node, "/secrets")[0] == 404


def test_a_client_that_hangs_up_does_not_end_the_collector(node: Node) -> None:
    with collector(node) as process:
        for request in (b"", b"GET /metrics HTTP/1.1\r\n\r\n"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(str(node.paths.collector / "metrics.sock"))
                client.sendall(request)
        assert scrape(node)[0] == 200
        assert process.poll() is None


def test_a_stop_is_quick_and_takes_the_socket_away(node: Node) -> None:
    with collector(node) as process:
        scrape(node)
        process.send_signal(signal.SIGTERM)
        assert process.wait(2.0) == 0
        assert not (node.paths.collector / "metrics.sock").exists()


def test_300_containers_cost_less_than_200_ms_and_25_mib(node: Node) -> None:
    fill(node, 300)
    rounds = 5
    with collector(node) as process:
        scrape(node)
        before = cpu_seconds(process.pid)
        for _ in range(rounds):
            _, text = scrape(node)
        used = (cpu_seconds(process.pid) - before) / rounds
        pss = pss_bytes(process.pid)
    assert values(text)["insula_node_containers"] == 300
    assert used <= 0.2 * BUSY
    assert pss < 25 << 20


def fill(node: Node, count: int) -> None:
    """Containers whose cgroups are the machine's own root groups: real files, real cost."""
    controllers = ("memory", "cpuacct", "pids", "blkio")
    roots = [Path("/sys/fs/cgroup") / name for name in controllers]
    for number in range(count):
        uid = UID + number
        home = node.paths.root / "groups" / str(uid)
        (home / str(CUSTOMER)).mkdir(parents=True)
        lines = []
        for name, root in zip(controllers, roots, strict=True):
            link = home / name / str(CUSTOMER) / str(uid)
            link.parent.mkdir(parents=True)
            link.symlink_to(root if root.is_dir() else "/sys/fs/cgroup")
            lines.append(f"{link}\n")
        node.paths.cgroups(uid).write_text("".join(lines))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
