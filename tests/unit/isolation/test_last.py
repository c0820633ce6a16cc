"""The last run of the isolation doctor: kept, read back, told by the doctor."""

from pathlib import Path

import pytest

from insula.emperor import doctor
from insula.emperor.isolation import last
from insula.emperor.settings import Node, NodeSettings, Paths

RUN = last.Run(1_800_000_000.0, "6.1.0", 140, ())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    found = Node(Paths(tmp_path), NodeSettings())
    found.paths.lib.mkdir(parents=True)
    return found


def test_a_run_is_read_back(node: Node) -> None:
    result = {"probes": 140, "failed": ["mount (ssh)"]}
    run = last.Run.of(result, at=1.5, kernel="6.1.0")
    last.remember(node, run)
    assert last.recall(node) == run


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": "x"}', '{"at": 1, "failed": 3}'])
def test_a_damaged_file_counts_as_none(node: Node, text: str) -> None:
    node.paths.isolation_json.write_text(text)
    assert last.recall(node) is None


@pytest.mark.parametrize(
    ("run", "kernel", "state", "words"),
    [
        (None, "6.1.0", "warn", "not tried"),
        (RUN, "6.1.0", "ok", "140 attacks"),
        (RUN, "6.2.0", "warn", "with Linux 6.1.0"),
        (last.Run(1.0, "6.1.0", 2, ("mount (ssh)",)), "6.1.0", "fail", "mount (ssh)"),
    ],
)
def test_the_doctor_tells_how_it_went(
    run: last.Run | None, kernel: str, state: str, words: str
) -> None:
    found = doctor.isolation(run, kernel)
    assert found.state == state
    assert words in found.detail
