"""How a container's first process is told from the others, and whose children there are."""

from pathlib import Path

import pytest

from insula.emperor.kernel import process


def status(proc: Path, pid: int, numbers: str, state: str = "S (sleeping)") -> None:
    (proc / str(pid)).mkdir()
    text = f"Name:\tNSpid:\t1\nState:\t{state}\nNSpid:\t{numbers}\n"
    (proc / str(pid) / "status").write_text(text)


def test_the_first_process_is_number_one_of_a_namespace_below_ours(tmp_path: Path) -> None:
    status(tmp_path, 1, "1")
    status(tmp_path, 40, "40\t7")
    status(tmp_path, 50, "50\t1", "Z (zombie)")
    status(tmp_path, 60, "60\t1")
    assert process.first_of([60, 50, 40, 30, 1], tmp_path) == 60


def test_a_container_that_ends_has_no_first_process(tmp_path: Path) -> None:
    assert process.first_of([40], tmp_path) is None
    assert process.running_since(40, tmp_path) == 0.0


def stat(proc: Path, pid: int, parent: int) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(f"{pid} (a) S 9 (b) S {parent} {pid} 0")


def test_children_are_read_from_the_kernels_list(tmp_path: Path) -> None:
    task = tmp_path / "20/task/20"
    task.mkdir(parents=True)
    (task / "children").write_text("31 30 ")
    assert process.Children(tmp_path).of(20) == (30, 31)


def test_without_a_list_children_are_searched_for_and_a_new_one_is_seen(tmp_path: Path) -> None:
    stat(tmp_path, 20, 1)
    (tmp_path / "20/task/20").mkdir(parents=True)
    for pid, parent in ((30, 20), (31, 20), (40, 30)):
        stat(tmp_path, pid, parent)
    (tmp_path / "uptime").write_text("1")
    children = process.Children(tmp_path)
    assert children.of(20) == (30, 31)
    (tmp_path / "30/stat").unlink()
    (tmp_path / "30").rmdir()
    stat(tmp_path, 52, 20)
    assert children.of(20) == (31, 52)


def test_who_is_gone_has_no_children(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        process.Children(tmp_path).of(20)
