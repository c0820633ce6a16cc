"""Each wall holds alone: with all others of its row down, the attack still meets a refusal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from insula.emperor.isolation.arena import Arena, arena
from insula.emperor.isolation.attacks import program as _registers  # noqa: F401
from insula.emperor.isolation.attacks.contract import ABSENT, ATTACKS, HELD
from insula.emperor.isolation.threats import THREATS, Threat
from insula.emperor.settings import Node as Settings
from insula.emperor.settings import NodeSettings
from tests.system import cage
from tests.system.conftest import Node

pytestmark = [pytest.mark.system, pytest.mark.soak]

BOUNDARIES = {"files", "processes", "the kernel"}
# Who has all capabilities is stopped by no uid, and who is the neighbour needs none: they are one.
RIGHTS = frozenset({"own-uid", "no-capabilities"})
# It counts where the groups are version 2, mounted so that namespaces bound them.
OF_VERSION_2 = {("escape-cgroup", frozenset({"own-cgroups"}))}


def cases() -> list[tuple[Threat, frozenset[str]]]:
    """Each threat with each of its walls, or both that are one, left standing."""
    return [
        (threat, alone)
        for threat in THREATS
        if threat.boundary in BOUNDARIES and threat.name in ATTACKS
        for alone in dict.fromkeys(
            RIGHTS & set(threat.walls) if wall in RIGHTS else frozenset({wall})
            for wall in threat.walls
        )
    ]


@pytest.fixture(scope="module")
def made(node: Node) -> Iterator[Arena]:
    paths = node.paths
    settings = NodeSettings.from_toml(paths.node_toml.read_text(), path=paths.node_toml)
    with arena(Settings(paths, settings), print) as found:
        yield found


@pytest.mark.parametrize(
    ("threat", "alone"),
    cases(),
    ids=lambda value: value.name if isinstance(value, Threat) else "+".join(sorted(value)),
)
def test_a_wall_holds_alone(made: Arena, threat: Threat, alone: frozenset[str]) -> None:
    if (threat.name, alone) in OF_VERSION_2 and not _has_version_2():
        pytest.skip("this machine's control groups are version 1")
    outcome = cage.attack(made, threat.name, set(threat.walls) - alone)
    assert outcome.verdict in (HELD, ABSENT), outcome.reason


def _has_version_2() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()
