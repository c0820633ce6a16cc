"""An upgrade restarts no customer's container and loses no request."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.conftest import CHECKOUT, UP_OPTIONS, Node, bin_up, until
from tests.system.steady import Steady

pytestmark = pytest.mark.system
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".types", "__pycache__")


@pytest.fixture
def newer(node: Node, tmp_path: Path) -> Iterator[Path]:
    """A checkout with other code than the node runs; the node has its own again afterwards."""
    copy = tmp_path / "insula"
    shutil.copytree(CHECKOUT, copy, ignore=NOT_COPIED)
    yield copy
    assert bin_up(*UP_OPTIONS).returncode == 0


def _upgrade(checkout: Path, number: int) -> None:
    with (checkout / "vassals/names.py").open("a") as source:
        source.write(f"# upgrade {number}\n")
    done = bin_up(*UP_OPTIONS, checkout=checkout)
    assert done.returncode == 0, done.stderr


def test_upgrades_leave_the_containers_alone(node: Node, newer: Path) -> None:
    demo = node.up["demo"]
    before = processes.first_process(node, int(demo["uid"]))
    code = node.paths.venv.readlink()
    with Steady(node, demo["domain"]) as visitor:
        _upgrade(newer, 1)
        _upgrade(newer, 2)
    assert node.paths.venv.readlink() != code
    assert processes.first_process(node, int(demo["uid"])) == before
    visitor.lost_nothing(of_at_least=50)
    # What runs since before the upgrades must start again with the code of today.
    processes.kill(processes.tree("containers", node))
    until(lambda: _is_new(node, before), 60, "the demo has booted again")
    node.answers(demo["domain"], 200, within=60)


def _is_new(node: Node, before: int | None) -> bool:
    return processes.first_process(node, int(node.up["demo"]["uid"])) not in (None, before)
