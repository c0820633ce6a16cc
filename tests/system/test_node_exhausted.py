"""The containers' limits add up to more than there is, and all of them take what they may."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.patience import BUSY
from tests.system import ceiling, processes
from tests.system.ceiling import FullNode, number
from tests.system.conftest import until
from tests.system.steady import Steady

pytestmark = [pytest.mark.system, pytest.mark.soak]

SITE = "quiet.example.org"
MEMORY_BYTES = 1200 << 20
PIDS_LEFT = 100
BEGIN_SECONDS = 5.0
PRESSED_SECONDS = 20.0
# Starts again whatever the kernel has killed of it.
VASSAL = """[uwsgi]
master = true
socket = /tmp/greedy.sock
attach-daemon = python3 /containers/{uid}/greedy.py
"""
TAKES_MEMORY = """
import time
held = []
while sum(map(len, held)) < 560 << 20:
    held.append(b"x" * (8 << 20))
time.sleep(600)
"""
# All of them at once: when one has begun, nobody can log in to the others any more.
TAKES_PIDS = """
import os, time
time.sleep(max(0, {at} - time.time()))
while True:
    try:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
    except OSError:
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullNode]:
    """A node below a ceiling, with a quiet site."""
    if not ceiling.is_possible():
        pytest.skip("the ceiling is made of cgroup v1 groups")
    with ceiling.below():
        done = ceiling.up()
        assert done.returncode == 0, done.stderr
        key = tmp_path_factory.mktemp("ssh") / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        found = FullNode(root=ceiling.ROOT, up=json.loads(done.stdout), key=key)
        try:
            found.insula("customer", "create", "quiet")
            uid = found.container("quiet", "quiet")
            found.insula("domain", "add", SITE, "--customer", "quiet")
            found.site(uid, SITE)
            yield found
        finally:
            ceiling.down()


@pytest.fixture(scope="module")
def quiet(node: FullNode) -> int:
    return next(int(c["uid"]) for c in node.json("container", "list") if c["name"] == "quiet")


@pytest.fixture(scope="module")
def greedy(node: FullNode) -> list[int]:
    node.insula("customer", "create", "greedy")
    limits = ("--memory", "600M", "--pids", "200")
    return [node.container("greedy", f"greedy-{number}", *limits) for number in range(3)]


def platform(node: FullNode) -> dict[str, int | None]:
    """Who must be there afterwards, by its process."""
    daemons = ("insula-configurator", "insula-dominator", "insula-collector")
    services = ("router", "pages", "daemons", "containers")
    return (
        {"root Emperor": processes.emperor(node)}
        | {name: processes.tree(name, node) for name in services}
        | {name: processes.daemon(node, name) for name in daemons}
    )


def press(node: FullNode, uids: list[int], program: str) -> None:
    for uid in uids:
        node.ssh(uid, "cat > greedy.py", stdin=program)
        node.ssh(uid, "cat > vassals/greedy.ini", stdin=VASSAL.format(uid=uid))


def relents(node: FullNode, uid: int) -> bool:
    return node.ssh(uid, "rm -f vassals/greedy.ini", check=False).returncode == 0


def is_whole(node: FullNode) -> bool:
    """As it should be, the platform's processes all there."""
    try:
        return processes.is_whole(node) and None not in platform(node).values()
    except (AssertionError, OSError):
        return False


def test_more_memory_is_wanted_than_there_is(node: FullNode, quiet: int, greedy: list[int]) -> None:
    before = platform(node)
    with Steady(node, SITE, timeout=30) as visitor:
        with ceiling.lowered("memory", "memory.limit_in_bytes", MEMORY_BYTES):
            killed = ceiling.oom_kills()
            press(node, greedy, TAKES_MEMORY)
            until(
                lambda: ceiling.oom_kills() > killed,
                60 * BUSY, "the memory is used up",
            )  # fmt: skip
            ends = time.monotonic() + PRESSED_SECONDS
            # What is acknowledged meanwhile counts.
            node.insula("container", "set", str(quiet), "--pids", "222")
            time.sleep(max(0.0, ends - time.monotonic()))
            killed = ceiling.oom_kills() - killed
            for uid in greedy:
                until(partial(relents, node, uid), 30 * BUSY, "ssh works")
            took = until(lambda: is_whole(node), 60 * BUSY, "the node is whole, below the ceiling")
        node.answers(SITE, 200, within=30)
    after = platform(node)
    print(
        f"memory: the kernel killed {killed}; {len(visitor.failed)} of {visitor.count} requests"
        f" of the quiet site failed {visitor.failed[:3]}; whole after {took:.1f} s;"
        f" started again: {[name for name in before if before[name] != after[name]]}"
    )
    assert killed > 0
    assert _pids_max(node, quiet) == 222


def test_more_processes_are_wanted_than_there_are(
    node: FullNode, quiet: int, greedy: list[int]
) -> None:
    before = platform(node)
    with Steady(node, SITE, timeout=30) as visitor:
        press(node, greedy, TAKES_PIDS.format(at=time.time() + BEGIN_SECONDS * BUSY))
        with ceiling.lowered("pids", "pids.max", number("pids", "pids.current") + PIDS_LEFT):
            until(
                lambda: number("pids", "pids.current") >= number("pids", "pids.max"),
                60 * BUSY, "the processes are used up",
            )  # fmt: skip
            ends = time.monotonic() + PRESSED_SECONDS
            gate = before["insula-dominator"]
            assert gate is not None
            os.kill(gate, signal.SIGKILL)
            node.insula("container", "set", str(quiet), "--pids", "223")
            time.sleep(max(0.0, ends - time.monotonic()))
            assert number("pids", "pids.current") <= number("pids", "pids.max")
            # What an operator can do, while nothing more can be started.
            for uid in greedy:
                node.insula("container", "set", str(uid), "--pids", "20")
                node.insula("container", "reboot", str(uid))
            took = until(lambda: is_whole(node), 60 * BUSY, "the node is whole, below the ceiling")
        node.answers(SITE, 200, within=30)
    after = platform(node)
    print(
        f"processes: {len(visitor.failed)} of {visitor.count} requests of the quiet site failed"
        f" {visitor.failed[:3]}; whole {took:.1f} s after the greedy were limited;"
        f" started again: {[name for name in before if before[name] != after[name]]}"
    )
    visitor.lost_nothing(of_at_least=10)
    assert after["insula-dominator"] not in (None, gate)
    assert _pids_max(node, quiet) == 223
    for uid in greedy:
        assert len(processes.processes(node, uid)) <= 20


def _pids_max(node: FullNode, uid: int) -> int:
    shown = processes.cgroup_file(node, uid, "pids.max").read_text()
    told = next(c["pids_max"] for c in node.json("container", "list") if c["uid"] == uid)
    assert int(shown) == told
    return int(told)
