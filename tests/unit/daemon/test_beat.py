"""A daemon's beat: touched while it works, named so that no other process is taken for it."""

import os
import time
from pathlib import Path

import pytest

from insula.emperor.daemon import beat
from insula.emperor.daemon.beat import Beat


def test_a_beat_touches_a_file_named_by_the_process_and_its_start(tmp_path: Path) -> None:
    one = Beat(tmp_path)
    one()
    pid, _, start = one.path.name.partition("-")
    assert (int(pid), one.path.exists()) == (os.getpid(), True)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert start == fields[19]


def test_it_is_touched_again_but_not_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    one = Beat(tmp_path)
    one()
    os.utime(one.path, (1, 1))
    one()
    assert one.path.stat().st_mtime == 1
    clock[0] += beat.BEAT_SECONDS
    one()
    assert one.path.stat().st_mtime > 1


def test_what_killed_daemons_left_is_taken_away(tmp_path: Path) -> None:
    gone = tmp_path / "999999999-5"
    reused = tmp_path / f"{os.getpid()}-1"
    other = tmp_path / f"{os.getppid()}-{beat._start_of(str(os.getppid()))}"
    for path in (gone, reused, other):
        path.touch()
    Beat(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


def test_a_daemon_without_the_directory_works_all_the_same(tmp_path: Path) -> None:
    one = Beat(tmp_path / "missing")
    one()
    one.end()


def test_the_end_takes_the_file_away(tmp_path: Path) -> None:
    one = Beat(tmp_path)
    one()
    one.end()
    assert list(tmp_path.iterdir()) == []
