"""Where the groups lie on each kind of machine, and what is written there on v2."""

from pathlib import Path

import pytest

from insula.emperor.errors import KernelError
from insula.emperor.kernel import cgroup
from insula.emperor.kernel.cgroup import Limits


def v2_tree(root: Path, *, controllers: str = "cpu io memory pids") -> Path:
    (root / "cgroup.controllers").write_text(controllers + "\n")
    (root / "cgroup.subtree_control").write_text("\n")
    return root


def own(path: Path, text: str) -> Path:
    file = path / "self"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("line", "base"),
    [
        ("0::/", "insula"),
        ("0::/user.slice/session-1.scope", "insula"),
        ("0::/system.slice/insula.service", "system.slice/insula.service/insula"),
        ("0::/system.slice/insula.service/platform", "system.slice/insula.service/insula"),
        ("0::/system.slice/ssh.service", "insula"),
    ],
    ids=["no-systemd", "by-hand", "unit", "unit-leaf", "other-unit"],
)
def test_on_v2_the_base_lies_in_what_systemd_delegated(
    tmp_path: Path, line: str, base: str
) -> None:
    root = v2_tree(tmp_path)
    found = cgroup.detect("insula", root=root, self_cgroup=own(tmp_path, line + "\n"))
    assert (found.version, found.bases) == (2, (root / base,))


def test_a_command_outside_of_the_unit_finds_the_units_base(tmp_path: Path) -> None:
    root = v2_tree(tmp_path)
    (root / "system.slice/insula.service").mkdir(parents=True)
    found = cgroup.detect("insula", root=root, self_cgroup=own(tmp_path, "0::/user.slice\n"))
    assert found.bases == (root / "system.slice/insula.service/insula",)


def test_controllers_mounted_together_are_one_directory(tmp_path: Path) -> None:
    for name in ("memory", "cpu,cpuacct", "pids"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    (tmp_path / "cpuacct").symlink_to("cpu,cpuacct")
    found = cgroup.detect("insula-ab12", root=tmp_path)
    assert found.version == 1
    assert [str(base.relative_to(tmp_path)) for base in found.bases] == [
        "memory/insula-ab12",
        "cpu,cpuacct/insula-ab12",
        "pids/insula-ab12",
    ]


def test_a_machine_without_what_is_needed_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="cpu, memory, pids"):
        cgroup.detect("insula", root=tmp_path)


def test_v2_limits_are_what_the_kernel_reads(tmp_path: Path) -> None:
    root = v2_tree(tmp_path)
    group = root / "insula/7/30001"
    group.mkdir(parents=True)
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        (group / name).write_text("max\n")
    (group / "cpu.max").write_text("max 100000\n")
    limits = Limits(memory_bytes=64 << 20, cpu_percent=150, pids_max=64)
    found = cgroup.detect("insula", root=root, self_cgroup=own(tmp_path, "0::/\n"))
    found.limit(7, 30001, limits)
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert (group / "memory.swap.max").read_text() == "0"
    assert found.limits(7, 30001) == limits


def test_the_ini_has_one_line_a_controller() -> None:
    groups = cgroup.Cgroups(1, (Path("/c/memory/insula"), Path("/c/cpu/insula")))
    assert cgroup.cgroup_ini(groups) == (
        "; Written by the node: the cgroups of this machine (v1).\n"
        "[uwsgi]\n"
        "hook-asap = write:/c/memory/insula/%(customer)/%(container)/cgroup.procs 0\n"
        "hook-asap = write:/c/cpu/insula/%(customer)/%(container)/cgroup.procs 0\n"
    )


@pytest.mark.parametrize(("percent", "quota"), [(1, 1000), (50, 50_000), (250, 250_000)])
def test_a_percent_is_of_one_core(percent: int, quota: int) -> None:
    limits = Limits(memory_bytes=1, cpu_percent=percent, pids_max=1)
    assert limits.cpu_quota_microseconds == quota


def test_each_level_has_its_weight_on_v1(tmp_path: Path) -> None:
    for name in ("memory", "cpu", "pids"):
        (tmp_path / name / "insula/0").mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").touch()
    for place in ("insula", "insula/0"):
        (tmp_path / "cpu" / place / "cpu.shares").write_text("1024\n")
    found = cgroup.detect("insula", root=tmp_path)
    found.prepare()
    found.ensure(0, 30000)
    found.ensure(7, 30001)
    assert (tmp_path / "cpu/insula/cpu.shares").read_text() == "4096"
    assert (tmp_path / "cpu/insula/0/cpu.shares").read_text() == "10240"
    # a customer has the kernel's own figure, however many containers it has
    assert list((tmp_path / "cpu/insula/7").iterdir()) == [tmp_path / "cpu/insula/7/30001"]


def test_in_a_unit_the_platform_comes_before_the_containers(tmp_path: Path) -> None:
    unit = tmp_path / "system.slice/insula.service"
    for group in (unit / "platform", unit / "insula"):
        group.mkdir(parents=True)
        (group / "cpu.weight").write_text("100\n")
    for group in (tmp_path, unit, unit / "insula"):
        v2_tree(group)
    found = cgroup.detect(
        "insula", root=tmp_path, self_cgroup=own(tmp_path, "0::/system.slice/insula.service\n")
    )
    found.prepare()
    assert (unit / "platform/cpu.weight").read_text() == "4000"
    assert (unit / "insula/cpu.weight").read_text() == "400"
