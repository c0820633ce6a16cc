"""A file that another process watches is whole, and is written only when it changes."""

import errno
import os
from pathlib import Path

import pytest

from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import KernelError


def test_equal_bytes_are_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "30001.ini"
    assert write_atomic(path, b"a")
    before = path.stat()
    assert not write_atomic(path, b"a")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_bytes(b"secret")
    (tmp_path / "30001.ini").symlink_to(tmp_path / "shadow")
    with pytest.raises(KernelError):
        write_atomic(tmp_path / "30001.ini", b"a")
    assert (tmp_path / "shadow").read_bytes() == b"secret"


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"1", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_a_failed_write_names_its_target_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a"
    write_atomic(path, b"before", owner=os.geteuid(), group=os.getegid())
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space left on device.*a'"):
        write_atomic(path, b"after", owner=os.geteuid(), group=os.getegid())
    assert path.read_bytes() == b"before"
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
