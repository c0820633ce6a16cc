"""Where the services' groups lie, and that all of them are made, weighed and removed."""

from pathlib import Path

import pytest

from insula.emperor.errors import KernelError
from insula.emperor.kernel import services_group, shares


def test_on_v1_the_services_have_a_group_of_pids_and_one_of_processors(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    (tmp_path / "cpu,cpuacct").mkdir()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    assert services_group.paths_of("insula-ab12", tmp_path) == (
        tmp_path / "pids/insula-ab12.services",
        tmp_path / "cpu,cpuacct/insula-ab12.services",
    )


def test_on_v2_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    assert services_group.paths_of("insula", tmp_path) == (tmp_path / "insula.services",)


def test_the_services_come_before_the_containers(tmp_path: Path) -> None:
    groups = (tmp_path / "pids/insula.services", tmp_path / "cpu/insula.services")
    for group in groups:
        group.mkdir(parents=True)
    (groups[1] / "cpu.shares").write_text("1024\n")
    services_group.make(groups)
    assert (groups[1] / "cpu.shares").read_text() == str(shares.PLATFORM)
    assert shares.PLATFORM > shares.CONTAINERS
    assert list(groups[0].iterdir()) == []


def test_v2_hands_the_processors_down_first(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("\n")
    group = tmp_path / "insula.services"
    group.mkdir()
    (group / "cpu.weight").write_text("100\n")
    services_group.make((group,))
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +cpu +pids +io"
    assert (group / "cpu.weight").read_text() == "4000"


def test_a_group_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="making the cgroup .*/no/insula.services"):
        services_group.make((tmp_path / "no/insula.services",))


def test_missing_and_empty_groups_are_removed_and_hold_nobody(tmp_path: Path) -> None:
    groups = (tmp_path / "there", tmp_path / "missing")
    groups[0].mkdir()
    assert services_group.reap(groups) == 0
    services_group.remove(groups)
    assert not groups[0].exists()
