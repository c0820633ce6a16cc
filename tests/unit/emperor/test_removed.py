"""What destroyed containers left."""

from pathlib import Path

import pytest

from insula.emperor import removed
from insula.emperor.errors import StorageError
from insula.emperor.settings import Node, NodeSettings, Paths

DAY = 86400


@pytest.fixture
def node(tmp_path: Path) -> Node:
    paths = Paths(tmp_path)
    for name in ("30002-172800", "30001-86400", ".30003", "stranger"):
        (paths.removed / name).mkdir(parents=True)
    return Node(paths, NodeSettings(storage="dir"))


def test_the_oldest_comes_first_and_strangers_are_left_out(node: Node) -> None:
    assert [item.name for item in removed.listed(node)] == ["30001-86400", "30002-172800"]


def test_age_counts_in_days(node: Node) -> None:
    found = removed.older_than(removed.listed(node), days=1, now=2 * DAY)
    assert [item.uid for item in found] == [30001]


@pytest.mark.parametrize("name", ["30009-1", "../containers/30001", "stranger", ""])
def test_only_what_is_set_aside_can_be_purged(node: Node, name: str) -> None:
    with pytest.raises(StorageError, match="is not set aside"):
        removed.purge(node, [name])
