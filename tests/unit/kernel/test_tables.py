"""Shared tables of the kernel: raised, never lowered, left where the machine does not let us."""

from pathlib import Path

import pytest

from insula.emperor.kernel import tables

NAMES = (
    "fs/file-max", "fs/aio-max-nr", "kernel/pid_max", "kernel/pty/max",
    "net/ipv4/neigh/default/gc_thresh2", "net/ipv4/neigh/default/gc_thresh3",
    "net/core/bpf_jit_limit",
)  # fmt: skip


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("4096\n")
    return tmp_path


def test_small_tables_are_enlarged(proc: Path) -> None:
    tables.enlarge(proc)
    found = {name: int((proc / "sys" / name).read_text()) for name in NAMES}
    assert found == {
        "fs/file-max": 2**63 - 1, "fs/aio-max-nr": 2**30, "kernel/pid_max": 2**22,
        "kernel/pty/max": 2**17, "net/ipv4/neigh/default/gc_thresh2": 2**15,
        "net/ipv4/neigh/default/gc_thresh3": 2**16, "net/core/bpf_jit_limit": 1000 * 2**20,
    }  # fmt: skip


def test_a_larger_table_is_left_alone(proc: Path) -> None:
    path = proc / "sys/fs/aio-max-nr"
    path.write_text(f"{2**40}\n")
    tables.enlarge(proc)
    assert path.read_text() == f"{2**40}\n"


def test_what_the_kernel_lacks_is_passed_over(proc: Path) -> None:
    (proc / "sys/kernel/pty/max").unlink()
    tables.enlarge(proc)
    assert not (proc / "sys/kernel/pty/max").exists()
    assert (proc / "sys/kernel/pid_max").read_text() == str(2**22)
