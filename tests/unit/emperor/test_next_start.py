"""What a person reads of a release that waits, and what may never wait for it."""

from pathlib import Path

import pytest

from insula.emperor import next_start, prepare, service
from insula.emperor.distros import builds, ground
from insula.emperor.next_start import NextStart
from insula.emperor.settings import Node, NodeSettings, Paths
from tests.unit.configurator.examples import NODE, container


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (NextStart(True, ("a", "b"), 21), "the new uWSGI and 2 of its files wait"),
        (NextStart(True, ("a",), 21), "the new uWSGI and 1 of its files wait"),
        (NextStart(True, (), 21), "the new uWSGI waits"),
        (NextStart(False, ("emperor.ini",), 21), "emperor.ini waits"),
        (NextStart(False, ("a", "b"), 21), "a, b wait"),
    ],
)
def test_the_sentence_says_what_waits_and_what_it_costs(left: NextStart, said: str) -> None:
    rest = " for the next start: all containers boot again then, about 21 s"
    assert left.sentence() == said + rest


def test_a_node_that_is_down_waits_for_nothing(tmp_path: Path) -> None:
    found = next_start.next_start(Node(Paths(tmp_path), NodeSettings()))
    assert not found
    assert found.names() == ()


def test_a_running_node_names_all_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(Paths(tmp_path), NodeSettings())
    monkeypatch.setattr(service, "running", lambda _: prepare.Running(other_uwsgi=True))
    monkeypatch.setattr(next_start, "vassals_of", lambda _: [{}] * 50)
    found = next_start.next_start(node)
    names = found.names()
    assert (names[0], found.seconds) == ("uWSGI", 30)
    assert {"emperor.ini", "container.ini", "services/router.ini"} <= set(names)


def test_boot_files_say_only_what_every_release_of_our_uwsgi_understands() -> None:
    """They are written by new code while an old uWSGI may still read them."""
    stands_on = ground.Ground(builds.Build("default", 5), "", "", is_32bit=True, has_clock=True)
    written = ground.files_of(NODE, container(), stands_on)
    text = written[NODE.paths.boot_ini(container().uid)].decode()
    lines = [line for line in text.splitlines() if not line.startswith((";", "["))]
    words = {line.split(" = ")[0] + " " + line.split(" = ")[1].split(":")[0] for line in lines}
    assert {word for word in words if not word.startswith("env ")} == {
        "hook-asap mount",
        "hook-asap remount",
        "hook-as-root callint",
    }
