"""Names of what is set aside."""

from pathlib import Path

from insula.emperor.settings import Paths
from insula.emperor.storage import layout


def test_two_removals_in_one_second_do_not_meet(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    first = layout.aside(paths, 30001, 1000.7)
    first.mkdir(parents=True)
    assert layout.aside(paths, 30001, 1000.7) == paths.removed / "30001-1001"
