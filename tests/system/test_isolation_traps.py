"""Every trap, and every attack on the gate, gets through as soon as its walls are down."""

import json
from collections.abc import Iterator

import pytest

from insula.emperor import settings
from insula.emperor.isolation import doctor as _registers  # noqa: F401
from insula.emperor.isolation.arena import Arena, arena
from insula.emperor.isolation.attacks.contract import ABSENT, ATTACKS, HELD, THROUGH, Outcome
from insula.emperor.isolation.threats import THREATS, Threat
from insula.emperor.isolation.traps import contract
from tests.system import cage, walls_off
from tests.system.conftest import Node

pytestmark = pytest.mark.system


def is_ours(threat: Threat) -> bool:
    """The cage takes down what stands around a process; the rest stands on the node."""
    return threat.name in contract.TRAPS or not set(threat.walls) <= cage.INSIDE | cage.OUTSIDE


# side by side what starts the same process again: that is done once for two of them
OURS = sorted(
    (threat for threat in THREATS if is_ours(threat)),
    key=lambda threat: walls_off.starts_again(threat.name, set(threat.walls)),
)


@pytest.fixture(scope="module")
def made(node: Node) -> Iterator[Arena]:
    settled = settings.load(node.root)
    with walls_off.quick_restarts(settled), arena(settled, print) as found:
        yield found


def attempt(made: Arena, name: str) -> Outcome:
    """Try it as the doctor does."""
    if name in contract.TRAPS:
        return contract.run(name, made)
    done = made.ssh(made.attacker, f"python3 attacks.pyz targets.json {name}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("threat", OURS, ids=lambda threat: threat.name)
def test_a_trap_snaps_where_its_walls_are_down(made: Arena, threat: Threat) -> None:
    with walls_off.down(made, threat.name, threat.walls):
        outcome = attempt(made, threat.name)
    if outcome.verdict == ABSENT:
        pytest.skip(outcome.reason)
    print(f"{threat.name}: {outcome.reason}")
    assert outcome.verdict == THROUGH, outcome.reason


@pytest.mark.parametrize(
    "name", ["announce-unsigned", "set-environment", "ask-as-operator", "look-like-first-process"]
)
def test_the_walls_stand_again(made: Arena, name: str) -> None:
    walls_off.settle(made)
    outcome = attempt(made, name)
    assert outcome.verdict == HELD, outcome.reason


def test_every_threat_has_its_attack_or_its_trap() -> None:
    assert {threat.name for threat in THREATS} == set(ATTACKS) | set(contract.TRAPS)
