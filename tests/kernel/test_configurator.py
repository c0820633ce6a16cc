"""The whole configurator against the real kernel: fetch, plan, apply, report."""

import io
import json
import os
import socket
import socketserver
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from insula.configurator import __main__ as configurator
from insula.configurator.plan import limits_of
from insula.configurator.reconcile import kernel_of
from insula.emperor.daemon import trace
from insula.emperor.daemon.feed import FeedClient, fetch_from
from insula.emperor.daemon.log import Log
from insula.emperor.settings import DOMINATOR_UID, ROUTER_UID, Node
from insula.vassals import spec as contract
from insula.vassals.render import Vassal, vassal_file
from insula.vassals.report import ContainerReport, NodeReport
from tests import places
from tests.kernel.machine import add_distro, empty_state, fresh_node
from tests.patience import BUSY

pytestmark = pytest.mark.kernel

PUBLIC = "-----BEGIN PUBLIC KEY-----\nx\n"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"


def spec_of(node: Node, uid: int = 30001, **changes: Any) -> contract.ContainerSpec:
    values: dict[str, Any] = {
        "uid": uid,
        "customer_id": 7,
        "name": "shop",
        "hostname": "shop",
        "distro": "tiny",
        "generation": 1,
        "revision": 5,
        "changed_at": 1000.0,
        "memory_bytes": 64 << 20,
        "cpu_percent": 50,
        "storage_bytes": 32 << 20,
        "pids_max": 64,
        "ssh_keys": ("ssh-ed25519 AAAA me",),
        "state": "running",
    } | changes
    vassal = Vassal(uid, 7, values["hostname"], values["distro"], values["generation"])
    include = PurePosixPath(node.paths.container_ini)
    values.setdefault("vassal", vassal_file(vassal, container_ini=include))
    return contract.ContainerSpec(**values)


class Api:
    """A fake API on both local sockets; ``answer`` is what the feed says, ``reports`` what came."""

    def __init__(self, node: Node) -> None:
        self.answer: object = empty_state("one", 1)
        self.reports: list[NodeReport] = []
        self.closed = False
        self.servers = [self._serve(node.paths.api_node), self._serve(node.paths.api_operator)]

    def say(self, revision: int, *containers: contract.ContainerSpec) -> None:
        customers = (contract.CustomerSpec(7, "acme", PUBLIC),)
        self.answer = contract.DesiredState("one", revision, containers, customers, ()).to_json()

    def hold(self, since: int) -> None:
        """Keep a long poll until there is something newer."""
        while since >= 0 and isinstance(self.answer, dict) and not self.closed:
            if self.answer.get("revision") != since:
                return
            time.sleep(0.005)

    def close(self) -> None:
        self.closed = True
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def _serve(self, directory: Path) -> socketserver.ThreadingUnixStreamServer:
        directory.mkdir()
        server = socketserver.ThreadingUnixStreamServer(str(directory / "api.sock"), _handler(self))
        server.daemon_threads = True
        # A daemon that ends leaves its long poll: that is no error to print.
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the fake's own
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def address_string(self) -> str:
            return "local"

        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            if self.path == "/api/v1/node/signing-keys":
                self._answer({"keys": {"7": PRIVATE}})
            else:
                since = int(self.path.partition("since=")[2].partition("&")[0])
                api.hold(since)
                self._answer(api.answer)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            api.reports.append(NodeReport.from_json(json.loads(body)))
            self._answer(None)

        def _answer(self, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


@pytest.fixture
def node() -> Iterator[Node]:
    with fresh_node() as found:
        add_distro(found, kernel_of(found))
        yield found


@pytest.fixture
def api(node: Node) -> Iterator[Api]:
    server = Api(node)
    yield server
    server.close()


def run_once(node: Node) -> int:
    """One round as a process would make it; the exit code."""
    client = FeedClient(
        fetch_from(node.paths.api_node / "api.sock"), node.paths.lib / "feed-configurator.json"
    )
    client.load()
    try:
        configurator.once(node, client, Log("configurator", io.StringIO()))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def snapshot(node: Node) -> dict[str, tuple[int, int, int]]:
    """Every path that the configurator writes, with its inode, rights and time."""
    found: dict[str, tuple[int, int, int]] = {}
    for top in (node.paths.etc, node.paths.lib / "files", node.paths.extrausers, node.paths.run):
        for path in top.rglob("*"):
            state = path.lstat()
            if "trace" not in path.parts and not path.name.endswith(".sock"):
                found[str(path)] = (state.st_ino, state.st_mode, state.st_mtime_ns)
    return found


def rights(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid


def test_a_container_of_the_feed_gets_all_that_its_boot_needs(node: Node, api: Api) -> None:
    spec = spec_of(node)
    api.say(5, spec)
    assert run_once(node) == 0
    paths, kernel = node.paths, kernel_of(node)
    assert rights(places.home(paths, 30001)) == (0o750, 30001, 30001)
    assert rights(places.home(paths, 30001) / ".ssh") == (0o700, 30001, 30001)
    assert rights(places.tmp(paths, 30001)) == (0o1777, 30001, 30001)
    assert rights(places.sockets(paths, 30001)) == (0o2730, 30001, ROUTER_UID)
    assert rights(paths.keys(30001) / "signing.pem") == (0o440, 0, 30001)
    assert rights(paths.subscribe(30001)) == (0o755, DOMINATOR_UID, DOMINATOR_UID)
    assert rights(paths.extrausers / "shadow") == (0o600, 0, 0)
    assert kernel.storage.limits() == {30001: 32 << 20}
    assert kernel.network.ready([30001]) == {30001}
    assert kernel.cgroups.limits(7, 30001) == limits_of(spec)
    assert (paths.vassals / "30001.ini").read_text() == spec.vassal
    assert (paths.container_files(30001) / "passwd").read_text().splitlines()[-1] == (
        "30001:x:30001:30001:shop:/containers/30001:/bin/bash"
    )
    report = api.reports[-1].containers[0]
    assert (report.uid, report.applied_revision, report.error) == (30001, 5, "")
    steps = [event.step for event in trace.read(paths, 30001)]
    assert steps == [
        "api-changed",
        "feed-received",
        "storage-ready",
        "network-ready",
        "limits-ready",
        "files-ready",
        "vassal-written",
    ]


def test_applying_twice_changes_nothing(node: Node, api: Api) -> None:
    api.say(5, spec_of(node))
    run_once(node)
    before = snapshot(node)
    assert run_once(node) == 0
    assert snapshot(node) == before


def test_a_destroyed_container_leaves_its_home_aside_and_nothing_else(node: Node, api: Api) -> None:
    api.say(5, spec_of(node))
    run_once(node)
    (places.home(node.paths, 30001) / "kept").write_text("data")
    api.say(6, spec_of(node, revision=6, state="destroyed"))
    assert run_once(node) == 0
    kernel, paths = kernel_of(node), node.paths
    assert kernel.cgroups.known() == []
    assert not paths.netns(30001).exists()
    assert not (paths.vassals / "30001.ini").exists()
    assert not paths.keys(30001).exists()
    assert not (paths.ssh / "authorized_keys/30001").exists()
    assert (paths.extrausers / "passwd").read_text() == ""
    aside = list(paths.removed.iterdir())
    assert [(path / "home/kept").read_text() for path in aside] == ["data"]


@pytest.mark.parametrize(
    "answer",
    [
        empty_state("one", 6),
        empty_state("another", 9),
        empty_state("one", 2),
        {"containers": []},
        [],
        "<html>",
    ],
    ids=["empty", "other-database", "older", "cut", "list", "text"],
)
def test_a_feed_that_is_empty_or_nonsense_takes_nothing_away(
    node: Node, api: Api, answer: object
) -> None:
    api.say(5, spec_of(node))
    run_once(node)
    before = snapshot(node)
    api.answer = answer
    run_once(node)
    assert snapshot(node) == before
    assert kernel_of(node).network.ready([30001]) == {30001}


def test_one_failing_container_does_not_stop_the_others(node: Node, api: Api) -> None:
    broken = spec_of(node, 30001, distro="missing")
    hostile = spec_of(node, 30002, vassal="[uwsgi]\nhook-asap = exec:id\n")
    api.say(5, broken, hostile, spec_of(node, 30003))
    assert run_once(node) == 1
    errors = {item.uid: item.error for item in api.reports[-1].containers}
    assert "insula distro build missing" in errors[30001]
    assert "grammar" in errors[30002]
    assert errors[30003] == ""
    assert not places.home(node.paths, 30002).exists()
    assert (node.paths.vassals / "30003.ini").exists()
    assert not (node.paths.vassals / "30002.ini").exists()


def test_limits_change_live_and_the_vassal_file_stays(node: Node, api: Api) -> None:
    api.say(5, spec_of(node))
    run_once(node)
    vassal = (node.paths.vassals / "30001.ini").stat()
    larger = spec_of(
        node, revision=6, memory_bytes=96 << 20, cpu_percent=150, storage_bytes=48 << 20
    )
    api.say(6, larger)
    assert run_once(node) == 0
    kernel = kernel_of(node)
    assert kernel.cgroups.limits(7, 30001) == limits_of(larger)
    assert kernel.storage.limits() == {30001: 48 << 20}
    found = (node.paths.vassals / "30001.ini").stat()
    # Not the time of the last reading, which a check may move.
    assert (found.st_ino, found.st_ctime_ns) == (vassal.st_ino, vassal.st_ctime_ns)


def test_a_vassal_rewritten_within_a_second_is_newer_by_a_whole_second(
    node: Node, api: Api
) -> None:
    times = []
    for generation in (1, 2, 3):
        api.say(4 + generation, spec_of(node, generation=generation, revision=4 + generation))
        run_once(node)
        times.append(int((node.paths.vassals / "30001.ini").stat().st_mtime))
    assert times[0] < times[1] < times[2]


def test_restore_kills_what_is_left_and_needs_no_api(node: Node, api: Api) -> None:
    api.say(5, spec_of(node))
    run_once(node)
    api.close()
    kernel = kernel_of(node)
    kernel.network.remove(30001)
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    for group in kernel.cgroups.directories(7, 30001):
        (group / "cgroup.procs").write_text(str(child))
    client = FeedClient(
        fetch_from(node.paths.api_node / "api.sock"), node.paths.lib / "feed-configurator.json"
    )
    client.load()
    threading.Thread(target=os.waitpid, args=(child, 0), daemon=True).start()
    configurator.restore(node, client, Log("configurator", io.StringIO()))
    assert kernel.cgroups.pids(7, 30001) == []
    assert kernel.network.ready([30001]) == {30001}


def test_a_fresh_container_reaches_its_vassal_file_within_the_promise(node: Node, api: Api) -> None:
    api.say(5, spec_of(node))
    run_once(node)
    api.say(6, spec_of(node), spec_of(node, 30002, revision=6))
    run_once(node)
    events = {event.step: event.at for event in trace.read(node.paths, 30002)}
    # Generous for a busy machine; the bench prints the real number.
    assert events["vassal-written"] - events["feed-received"] < 0.5 * BUSY


def test_the_daemon_applies_a_change_as_it_comes_and_ends_on_a_signal(node: Node, api: Api) -> None:
    words = [sys.executable, "-m", "insula.configurator", "--root", str(node.paths.root)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as daemon:
        try:
            api.say(5, spec_of(node))
            wait_for((node.paths.vassals / "30001.ini").exists)
            api.say(6, spec_of(node), spec_of(node, 30002, revision=6, distro="missing"))
            wait_for(lambda: any(item.error for item in latest(api)))
            api.say(7, spec_of(node, revision=7, state="destroyed"))
            wait_for(lambda: not node.paths.netns(30001).exists())
            wait_for(lambda: any(item.applied_revision == 7 for item in latest(api)))
            assert node.paths.usage_json.exists()
        finally:
            daemon.terminate()
        assert daemon.wait(timeout=5) == 0


def latest(api: Api) -> tuple[ContainerReport, ...]:
    return api.reports[-1].containers if api.reports else ()


def wait_for(is_true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_emperor_is_woken_by_a_connection_that_is_read_to_its_end(node: Node) -> None:
    from insula.configurator.wake import wake

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(node.paths.containers_stats))
        server.listen()
        woken: list[bool] = []
        thread = threading.Thread(target=lambda: woken.append(wake(node.paths.containers_stats)))
        thread.start()
        connection, _ = server.accept()
        connection.sendall(b"{}")
        connection.close()
        thread.join()
    assert woken == [True]
    assert wake(node.paths.run / "missing.sock") is False
