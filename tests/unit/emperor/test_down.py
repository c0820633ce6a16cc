"""What a purge leaves."""

from pathlib import Path

import pytest

from insula.emperor import down
from insula.emperor.settings import Node, NodeSettings, Paths


@pytest.fixture
def node(tmp_path: Path) -> Node:
    paths = Paths(tmp_path / "node")
    for place in (paths.etc, paths.lib / "venvs", paths.run):
        place.mkdir(parents=True)
    return Node(paths, NodeSettings())


def test_a_purge_leaves_nothing(node: Node) -> None:
    down.purge(node)
    assert not node.paths.root.exists()


def test_a_purge_leaves_what_is_not_the_nodes(node: Node) -> None:
    stranger = node.paths.root / "etc/stranger"
    stranger.write_text("mine")
    down.purge(node)
    assert stranger.read_text() == "mine"
    assert not (node.paths.root / "var").exists()
