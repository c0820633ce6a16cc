"""The isolation doctor: every wall holds, and every attack is one."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from insula.emperor.isolation.arena import ATTACKER, Arena, arena
from insula.emperor.isolation.attacks import program as _registers  # noqa: F401
from insula.emperor.isolation.attacks.contract import ABSENT, ATTACKS, THROUGH
from insula.emperor.isolation.threats import THREATS, Threat
from insula.emperor.settings import Node as Settings
from insula.emperor.settings import NodeSettings
from tests.system import cage
from tests.system.conftest import Node, until

pytestmark = pytest.mark.system

# The others' walls stand on the node: test_isolation_traps.py takes those down.
INSIDE = [
    threat
    for threat in THREATS
    if threat.name in ATTACKS and set(threat.walls) <= cage.INSIDE | cage.OUTSIDE
]


@pytest.fixture(scope="module")
def made(node: Node) -> Iterator[Arena]:
    """Both containers, for the attacks of the cage."""
    paths = node.paths
    settings = NodeSettings.from_toml(paths.node_toml.read_text(), path=paths.node_toml)
    with arena(Settings(paths, settings), print) as found:
        yield found


def test_every_wall_holds(node: Node) -> None:
    program = node.root / "var/lib/insula/venv/bin/insula"
    done = subprocess.run(
        [program, "--root", node.root, "--json", "node", "doctor", "--isolation"],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    found = json.loads(done.stdout)
    print(f"{found['probes']} probes of {found['threats']} threats in {found['seconds']} s")
    assert found["failed"] == []
    assert done.returncode == 0
    assert found["threats"] == len(THREATS) >= 60
    assert {item["name"] for item in found["results"]} == {threat.name for threat in THREATS}
    assert all(item["reason"] and item["walls"] for item in found["results"])
    assert node.json("container", "list", "--customer", ATTACKER) == []


def test_a_run_that_was_killed_is_tidied_up_by_the_next(node: Node) -> None:
    program = node.root / "var/lib/insula/venv/bin/insula"
    words = ["node", "doctor", "--probe", "make-user-namespace"]
    killed = subprocess.Popen([program, "--root", node.root, *words], stderr=subprocess.DEVNULL)
    until(lambda: _containers(node) == 1, 30, "the attacker's container is made")
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert _containers(node) == 1
    node.insula(*words)
    assert _containers(node) == 0


@pytest.mark.parametrize("threat", INSIDE, ids=lambda threat: threat.name)
def test_an_attack_gets_through_where_its_walls_are_off(made: Arena, threat: Threat) -> None:
    outcome = cage.attack(made, threat.name, set(threat.walls))
    if outcome.verdict == ABSENT:
        pytest.skip(outcome.reason)
    assert outcome.verdict == THROUGH, outcome.reason


def test_a_second_run_beside_the_first_is_refused(made: Arena, node: Node) -> None:
    done = node.insula("node", "doctor", "--isolation", check=False)
    assert done.returncode == 5
    assert "another isolation run is under way" in done.stderr


def test_an_unknown_probe_is_named(node: Node) -> None:
    done = node.insula("node", "doctor", "--probe", "read-minds", check=False)
    assert done.returncode == 5
    assert "--list" in done.stderr


def _containers(node: Node) -> int:
    found = node.insula("--json", "container", "list", "--customer", ATTACKER, check=False)
    return len(json.loads(found.stdout)) if found.returncode == 0 else 0
