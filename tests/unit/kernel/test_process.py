"""How a container's first process is told from the others."""

from pathlib import Path

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
