"""What a container says to the isolation doctor: it keeps and reads a bounded part of it."""

import sys
from pathlib import Path

import pytest

from insula.emperor.isolation import arena
from insula.emperor.isolation.attacks.contract import Machine, Neighbour, Own, Targets
from insula.emperor.settings import Node, NodeSettings, Paths

pytestmark = pytest.mark.kernel


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> arena.Arena:
    """Whoever is asked there talks without end."""
    program = [sys.executable, "-c", "while True: print('x' * 99999)"]
    monkeypatch.setattr(arena.Arena, "ssh_words", lambda *_: program)
    own = Own(30001, "/", "a", "10.0.0.1", 0, 0, 0, 0, "a.test")
    neighbour = Neighbour(30002, "", "/", 0, "10.0.0.2", 0, "b.test")
    targets = Targets(own, neighbour, Machine("/", "/", "", 0, "10.0.0.3", (), ()))
    node = Node(Paths(tmp_path), NodeSettings())
    side = arena.Party("a", 30001)
    return arena.Arena(node, side, side, targets, Path("/nowhere"))


def test_what_a_container_says_is_bounded(endless: arena.Arena) -> None:
    done = endless.ssh(endless.attacker, "", timeout=60)
    assert done.returncode != 0
    assert 0 < len(done.stdout) <= arena._SAID_BYTES
    lines = list(endless.ssh_lines(endless.attacker, "", seconds=60))
    assert 0 < sum(map(len, lines)) <= arena._SAID_BYTES + 65536
