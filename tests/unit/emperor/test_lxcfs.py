"""lxcfs: when it can run, what is installed without it, what the doctor says, what is covered."""

import errno
import re
from pathlib import Path

import pytest

from insula.emperor import doctor, lxcfs, prepare
from insula.emperor.kernel import covers, mounts
from insula.emperor.settings import Node, NodeSettings, Paths

MOUNTINFO = (
    "528 509 0:56 / /proc rw,nosuid - proc proc rw,hidepid=invisible\n"
    "530 528 0:60 /proc/meminfo /proc/meminfo rw,nosuid - fuse.lxcfs lxcfs rw\n"
    "531 528 0:39 /dev/null /proc/keys rw,nosuid - tmpfs insula-dev rw\n"
    "532 528 0:61 /proc/meminfo /proc/meminfo rw,nosuid - fuse.lxcfs lxcfs rw\n"
)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(Paths(tmp_path), NodeSettings())


def test_it_needs_its_program_and_the_device(tmp_path: Path) -> None:
    program, device = tmp_path / "lxcfs", tmp_path / "fuse"
    assert "not installed" in lxcfs.lack(program=program, device=device)
    program.touch()
    assert lxcfs.lack(program=program, device=device) == f"there is no {device}"
    device.touch()
    assert lxcfs.lack(program=program, device=device) == ""


@pytest.mark.parametrize("reason", ["", "/usr/bin/lxcfs is not installed"])
def test_its_service_is_there_only_where_it_can_run(
    node: Node, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(lxcfs, "lack", lambda: reason)
    values = prepare.tokens(node, venv=Path("/srv/venvs/abc"), cpu_count=2)
    prepare.install(node, values, running=None, services=True)
    assert (node.paths.services / "lxcfs.ini").exists() == (reason == "")


def test_a_service_that_can_no_longer_run_is_taken_away(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = prepare.tokens(node, venv=Path("/srv/venvs/abc"), cpu_count=2)
    monkeypatch.setattr(lxcfs, "lack", lambda: "")
    prepare.install(node, values, running=prepare.Running(), services=True)
    monkeypatch.setattr(lxcfs, "lack", lambda: "there is no /dev/fuse")
    changed = prepare.install(node, values, running=prepare.Running(), services=True)
    assert changed == ["services/lxcfs.ini (removed)"]


def test_the_doctor_says_what_a_node_without_it_shows(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lxcfs, "lack", lambda: "/usr/bin/lxcfs is not installed")
    found = doctor.own_figures(node, running=True)
    assert found.state == "warn"
    assert "containers see the machine's memory" in found.detail
    monkeypatch.setattr(lxcfs, "lack", lambda: "")
    monkeypatch.setattr(lxcfs, "serves", lambda _: False)
    assert doctor.own_figures(node, running=True).state == "warn"
    assert doctor.own_figures(node, running=False).state == "ok"


def test_a_dead_one_serves_nothing_though_its_mount_is_there(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_connected(path: Path) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected", str(path))

    monkeypatch.setattr(mounts, "points", lambda: {node.paths.lxcfs: covers.KIND})
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", not_connected)
        assert lxcfs.serves(node) is False


def test_what_is_covered_twice_is_found_twice(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/mountinfo").write_text(MOUNTINFO)
    assert covers.covered(7, proc=tmp_path) == [Path("/proc/meminfo")] * 2


def test_boot_and_repair_cover_the_same_files() -> None:
    text = (prepare.shipped() / "container.ini").read_text()
    line = re.search(r"^hook-asap = cover:\S+ \S+ (.*)$", text, re.MULTILINE)
    assert line is not None
    assert tuple(line[1].split()) == lxcfs.FILES
