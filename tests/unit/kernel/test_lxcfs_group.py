"""lxcfs's own groups: where they lie, which limits they get, also when those come later."""

from pathlib import Path

from insula.emperor.kernel import cgroup, lxcfs_group, shares


def v1_tree(root: Path) -> cgroup.Cgroups:
    for name, file in (("memory", "memory.limit_in_bytes"), ("cpu", "cpu.cfs_quota_us")):
        (root / name).mkdir()
        (root / name / file).touch()
        (root / name / "cgroup.procs").touch()
    (root / "pids").mkdir()
    (root / "pids/cgroup.procs").touch()
    return cgroup.detect("insula", root=root)


def test_on_v1_they_are_for_memory_and_processors(tmp_path: Path) -> None:
    assert lxcfs_group.paths_of(v1_tree(tmp_path)) == (
        tmp_path / "memory/insula.lxcfs",
        tmp_path / "cpu/insula.lxcfs",
    )


def test_on_v2_it_lies_beside_the_containers(tmp_path: Path) -> None:
    unit = tmp_path / "insula.service"
    assert lxcfs_group.paths_of(cgroup.Cgroups(2, (unit / "insula",))) == (unit / "insula.lxcfs",)


def test_who_joins_has_limits_and_the_weight_of_one_customer(tmp_path: Path) -> None:
    memory, cpu = lxcfs_group.paths_of(v1_tree(tmp_path))
    for group, names in (
        (memory, ("memory.limit_in_bytes",)),
        (cpu, ("cpu.cfs_quota_us", "cpu.shares")),
    ):
        group.mkdir()
        for name in names:
            (group / name).write_text("-1\n")
    lxcfs_group.join((memory, cpu))
    assert (memory / "memory.limit_in_bytes").read_text() == str(lxcfs_group.MEMORY_BYTES)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "50000"
    assert (cpu / "cpu.shares").read_text() == str(shares.CUSTOMER)
    assert (memory / "cgroup.procs").read_text() == (cpu / "cgroup.procs").read_text() == "0"


def test_limits_that_come_later_are_set_then(tmp_path: Path) -> None:
    group = tmp_path / "insula.lxcfs"
    lxcfs_group.join((group,))
    (group / "memory.max").write_text("max\n")
    (group / "cpu.max").write_text("max 100000\n")
    lxcfs_group.limit((group,))
    assert (group / "memory.max").read_text() == str(lxcfs_group.MEMORY_BYTES)
    assert (group / "cpu.max").read_text() == "50000 100000"


def test_a_machine_that_refuses_keeps_lxcfs(tmp_path: Path) -> None:
    lxcfs_group.join((tmp_path / "missing/insula.lxcfs",))
    assert not (tmp_path / "missing").exists()
