"""What dies comes back; sites and containers do not notice the death of anything but themselves."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from insula.vassals.identity import API_UID
from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import Node, until
from tests.system.fake_api import FakeApi
from tests.system.processes import Sampler, kill
from tests.system.steady import Steady

pytestmark = pytest.mark.system

SITE = "survivor.example.org"
DAEMONS = ("insula-dominator", "insula-configurator", "insula-collector", "sshd")
# Of a container's processes and its first one: those to kill.
Choice = Callable[[list[int], int], list[int]]


@dataclass(frozen=True)
class Scene:
    """A node with a site on it."""

    node: Node
    uid: int

    @property
    def uids(self) -> list[int]:
        return [API_UID, int(self.node.up["demo"]["uid"]), self.uid]

    def firsts(self) -> dict[int, int | None]:
        return {uid: processes.first_process(self.node, uid) for uid in self.uids}

    def everything_is_back(self) -> bool:
        """Every container runs once, the API answers, both sites answer every time."""
        if None in self.firsts().values() or not self.api_answers():
            return False
        hosts = [SITE, self.node.up["demo"]["domain"]] * 3
        return all(_status(self.node, host) == 200 for host in hosts)

    def api_answers(self) -> bool:
        return self.node.insula("container", "list", check=False).returncode == 0

    def api_processes(self) -> list[int]:
        first = processes.first_process(self.node, API_UID)
        return [pid for pid in processes.processes(self.node, API_UID) if pid != first]


def _status(node: Node, host: str) -> int:
    try:
        return node.get(host, timeout=3).status
    except OSError:
        return 0


@pytest.fixture(scope="module")
def scene(node: Node) -> Scene:
    node.insula("customer", "create", "survivor")
    uid = node.container("survivor", "survivor", "--memory", "128M")
    node.insula("domain", "add", SITE, "--customer", "survivor")
    node.site(uid, SITE)
    return Scene(node, uid)


@pytest.fixture
def untouched(scene: Scene) -> Iterator[Scene]:
    """Around a test: not one request of the site is lost and every first process is the same."""
    until(scene.everything_is_back, 30, "the node is whole before the test")
    before = scene.firsts()
    with Steady(scene.node, SITE) as visitor:
        until(lambda: visitor.count > 10, 10, "the visitor comes")
        yield scene
        count = visitor.count
        until(lambda: visitor.count > count + 10, 10, "the visitor still comes")
    visitor.lost_nothing(of_at_least=20)
    assert scene.firsts() == before


@pytest.mark.parametrize("name", DAEMONS)
def test_a_killed_daemon_is_not_missed(untouched: Scene, name: str) -> None:
    seconds = processes.killed_comes_back(untouched.node, name, within=10)
    print(f"{name} back after {seconds:.2f} s")
    until(lambda: _logs_in(untouched), 15, "ssh works")


def _logs_in(scene: Scene) -> bool:
    return scene.node.ssh(scene.uid, "true", check=False, timeout=10).returncode == 0


def test_a_killed_api_is_not_missed(untouched: Scene) -> None:
    for pid in untouched.api_processes():
        if processes.is_alive(pid):
            kill(pid)
    seconds = until(untouched.api_answers, 30, "the API answers")
    print(f"API back after {seconds:.2f} s")


def test_a_hanging_api_is_not_missed(untouched: Scene) -> None:
    stopped = untouched.api_processes()
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        # Started anew, the daemons ask at once and hang at once.
        for name in ("insula-dominator", "insula-configurator"):
            processes.killed_comes_back(untouched.node, name, within=10)
        time.sleep(4)
        assert _logs_in(untouched)
    finally:
        for pid in stopped:
            if processes.is_alive(pid):
                os.kill(pid, signal.SIGCONT)
    until(untouched.api_answers, 30, "the API answers")


def _feed(scene: Scene) -> dict[str, object]:
    cache = scene.node.paths.lib / "feed-configurator.json"
    known: dict[str, object] = json.loads(cache.read_bytes())
    return known


NONSENSE = {
    "garbage": b"\x00\xff<html>",
    "nothing": b"",
    "empty list": b"[]",
    "empty object": b"{}",
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_from_the_api_touches_nothing(untouched: Scene, body: bytes) -> None:
    _answer_with(untouched, body)


def test_an_error_of_the_api_touches_nothing(untouched: Scene) -> None:
    _answer_with(untouched, b'{"status": 500}', status=500)


def test_a_strange_installations_state_touches_nothing(untouched: Scene) -> None:
    strange = _feed(untouched) | {"installation": "0" * 32, "containers": [], "domains": []}
    _answer_with(untouched, json.dumps(strange).encode())


def _answer_with(scene: Scene, body: bytes, *, status: int = 200) -> None:
    node = scene.node
    with FakeApi(node.paths.api_node / "api.sock", body, status=status) as fake:
        for name in ("insula-dominator", "insula-configurator"):
            processes.killed_comes_back(node, name, within=10)
        until(lambda: "/api/v1/node/feed" in fake.asked, 10, "the daemons ask")
        time.sleep(1.5)
        assert _status(node, SITE) == 200
        assert scene.node.ssh(scene.uid, "echo in").stdout == "in\n"


def test_a_state_that_mentions_nothing_takes_nothing_away(untouched: Scene) -> None:
    """Well formed and newer, but empty: only what is said to be destroyed goes."""
    known = _feed(untouched)
    newer = int(str(known["revision"])) + 1
    empty = known | {"revision": newer, "containers": [], "customers": [], "domains": []}
    _answer_with(untouched, json.dumps(empty).encode())
    # The node has seen a newer revision than the API has: let the API's grow beyond it.
    for pids in ("150", "151", "152"):
        untouched.node.insula("container", "set", str(untouched.uid), "--pids", pids)
    untouched.node.insula("container", "set", str(untouched.uid), "--pids", "160", "--wait")


def test_a_killed_router_is_back_with_all_routes(scene: Scene) -> None:
    until(scene.everything_is_back, 30, "the node is whole before the test")
    before = scene.firsts()
    master = processes.tree("router", scene.node)
    started = time.monotonic()
    kill(master)
    until(lambda: _all_routes(scene), 20, "all routes are back")
    seconds = time.monotonic() - started
    print(f"router back with all routes after {seconds:.2f} s")
    assert seconds <= 2 * BUSY
    assert scene.firsts() == before


def test_a_killed_router_process_is_back_with_all_routes(scene: Scene) -> None:
    until(scene.everything_is_back, 30, "the node is whole before the test")
    killed = processes.children(processes.tree("router", scene.node))[0]
    started = time.monotonic()
    kill(killed)
    until(lambda: _all_routes(scene), 20, "all routes are back")
    seconds = time.monotonic() - started
    print(f"router process back with all routes after {seconds:.2f} s")
    assert seconds <= 2 * BUSY


def _all_routes(scene: Scene) -> bool:
    """Every router process answers for every domain: many requests, not one goes wrong."""
    hosts = [SITE, scene.node.up["demo"]["domain"], "api.insula.test"] * 8
    # The API answers a stranger with a refusal of its own; 421 and 503 are the platform's pages.
    return all(_status(scene.node, host) not in (0, 421, 503) for host in hosts)


@pytest.mark.parametrize("which", ["containers", "root"])
def test_after_a_killed_emperor_each_container_runs_once(scene: Scene, which: str) -> None:
    until(scene.everything_is_back, 30, "the node is whole before the test")
    before = scene.firsts()
    node = scene.node
    pid = processes.emperor(node) if which == "root" else processes.tree("containers", node)
    with Sampler(node, scene.uids) as sampler:
        started = time.monotonic()
        kill(pid)
        until(lambda: _all_are_new(scene, before), 60, "every container has booted again")
        until(scene.everything_is_back, 60, "everything is back")
        seconds = time.monotonic() - started
    print(f"{which} Emperor: everything back after {seconds:.2f} s, {sampler.count} samples")
    assert sampler.twice == []
    assert sampler.count > 10


def _all_are_new(scene: Scene, before: dict[int, int | None]) -> bool:
    try:
        now = scene.firsts()
    except (OSError, StopIteration, IndexError):
        return False  # its cgroups are being made
    return all(now[uid] not in (None, before[uid]) for uid in scene.uids)


def test_a_container_whose_first_process_is_killed_boots_again(scene: Scene) -> None:
    _boots_again(scene, lambda pids, first: [first])


def test_a_container_that_is_killed_whole_boots_again(scene: Scene) -> None:
    _boots_again(scene, lambda pids, first: pids)


def _boots_again(scene: Scene, victims: Choice) -> None:
    until(scene.everything_is_back, 30, "the node is whole before the test")
    before = scene.firsts()
    first = before[scene.uid]
    assert first is not None
    started = time.monotonic()
    for pid in victims(processes.processes(scene.node, scene.uid), first):
        if processes.is_alive(pid):
            kill(pid)
    until(scene.everything_is_back, 30, "the site answers again")
    print(f"container back after {time.monotonic() - started:.2f} s")
    after = scene.firsts()
    assert after.pop(scene.uid) != before.pop(scene.uid)
    assert after == before


def test_a_container_out_of_memory_goes_on(scene: Scene) -> None:
    """The kernel ends what took the memory; whatever else it ends is started again."""
    until(scene.everything_is_back, 30, "the node is whole before the test")
    others = scene.firsts()
    hog = scene.node.ssh(scene.uid, "python3 -c 'bytearray(400_000_000)'", check=False)
    assert hog.returncode != 0
    until(scene.everything_is_back, 30, "the site answers")
    after = scene.firsts()
    del others[scene.uid], after[scene.uid]
    assert after == others
