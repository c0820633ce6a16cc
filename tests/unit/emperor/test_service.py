"""Which process is the node's: a number in a file is believed only when the process fits."""

import os
from pathlib import Path

import pytest

from insula.emperor import prepare, service
from insula.emperor.settings import Node, NodeSettings, Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.lib.mkdir(parents=True)
    return paths


def _runs_as(monkeypatch: pytest.MonkeyPatch, binary: str) -> None:
    monkeypatch.setattr(os, "readlink", lambda _: binary)


def test_without_a_pid_file_no_emperor_runs(paths: Paths) -> None:
    assert service.emperor_pid(paths) is None


@pytest.mark.parametrize("text", ["", "nonsense", "-1", "0", "99999999", "1 2"])
def test_a_pid_file_with_no_living_process_counts_as_none(paths: Paths, text: str) -> None:
    paths.emperor_pid.write_text(text)
    assert service.emperor_pid(paths) is None


def test_a_number_that_went_to_another_program_is_not_the_emperor(paths: Paths) -> None:
    paths.emperor_pid.write_text(f"{os.getpid()}\n")
    assert service.emperor_pid(paths) is None


def test_another_nodes_emperor_is_not_this_ones(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    _runs_as(monkeypatch, "/srv/other/var/lib/insula/uwsgi-2.0.31-abc/uwsgi")
    paths.emperor_pid.write_text("77\n")
    assert service.emperor_pid(paths) is None


@pytest.mark.parametrize("suffix", ["", " (deleted)"])
def test_the_emperor_is_known_by_its_binary_also_after_an_upgrade(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    _runs_as(monkeypatch, f"{paths.lib}/uwsgi-2.0.31-abc/uwsgi{suffix}")
    paths.emperor_pid.write_text("77\n")
    assert service.emperor_pid(paths) == 77


@pytest.mark.parametrize(("linked", "is_other"), [("abc", False), ("def", True)])
def test_an_emperor_that_started_before_an_upgrade_has_another_uwsgi(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, linked: str, is_other: bool
) -> None:
    paths.uwsgi.symlink_to(f"uwsgi-2.0.31-{linked}")
    paths.emperor_pid.write_text("77\n")
    read = os.readlink
    exe = f"{paths.lib}/uwsgi-2.0.31-abc/uwsgi"
    monkeypatch.setattr(os, "readlink", lambda path: exe if "/77/" in str(path) else read(path))
    assert service.running(paths) == prepare.Running(other_uwsgi=is_other)


def test_a_node_that_is_down_runs_in_no_way(paths: Paths) -> None:
    assert service.running(paths) is None


def test_a_number_that_went_to_another_program_is_not_the_supervisor(paths: Paths) -> None:
    (paths.lib / "supervise.pid").write_text(f"{os.getpid()}\n")
    assert service.supervisor_pid(paths) is None


def test_a_living_process_runs_and_an_unused_number_does_not() -> None:
    assert service._runs(os.getpid())
    assert not service._runs(99_999_999)


@pytest.mark.parametrize(("root", "name"), [("/", "insula.service"), ("/srv/n", "insula-")])
def test_each_node_has_a_unit_of_its_own(root: str, name: str) -> None:
    assert service.unit_name(Node(Paths(Path(root)), NodeSettings())).startswith(name)
