"""What dies comes back; sites and containers do not notice the death of anything but themselves."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import Node, until
from tests.system.fake_api import FakeApi
from tests.system.processes import Sampler, kill
from tests.system.scene import Scene, scene_on

pytestmark = pytest.mark.system

# Of a container's processes and its first one: those to kill.
Choice = Callable[[list[int], int], list[int]]


@pytest.fixture(scope="module")
def scene(node: Node) -> Scene:
    return scene_on(node, "survivor")


@pytest.fixture
def untouched(scene: Scene) -> Iterator[Scene]:
    """Around a test: not one request of the site is lost and every first process is the same."""
    scene.is_whole()
    before = scene.firsts()
    with scene.nothing_lost():
        yield scene
    assert scene.firsts() == before


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
        assert untouched.logs_in()
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
        assert scene.status(scene.site) == 200
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
    scene.is_whole()
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
    scene.is_whole()
    killed = processes.children(processes.tree("router", scene.node))[0]
    started = time.monotonic()
    kill(killed)
    until(lambda: _all_routes(scene), 20, "all routes are back")
    seconds = time.monotonic() - started
    print(f"router process back with all routes after {seconds:.2f} s")
    assert seconds <= 2 * BUSY


def _all_routes(scene: Scene) -> bool:
    """Every router process answers for every domain: many requests, not one goes wrong."""
    hosts = [scene.site, scene.node.up["demo"]["domain"], "api.insula.test"] * 8
    # The API answers a stranger with a refusal of its own; 421 and 503 are the platform's pages.
    return all(scene.status(host) not in (0, 421, 503) for host in hosts)


@pytest.mark.parametrize("which", ["containers", "root"])
def test_after_a_killed_emperor_each_container_runs_once(scene: Scene, which: str) -> None:
    scene.is_whole()
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
    scene.is_whole()
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
    scene.is_whole()
    others = scene.firsts()
    hog = scene.node.ssh(scene.uid, "python3 -c 'bytearray(400_000_000)'", check=False)
    assert hog.returncode != 0
    until(scene.everything_is_back, 30, "the site answers")
    after = scene.firsts()
    del others[scene.uid], after[scene.uid]
    assert after == others
