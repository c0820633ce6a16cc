"""An Emperor takes up each change of a vassal's file, whatever its date (uwsgi/patches/0007)."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from insula.emperor import uwsgi_build
from insula.emperor.settings import Paths
from tests.patience import BUSY

pytestmark = pytest.mark.kernel

RELOADED = "[emperor] reload the uwsgi instance site.ini"
READY = "vassal site.ini is ready to accept requests"


@dataclass(frozen=True)
class Court:
    """An Emperor with one vassal."""

    place: Path
    process: subprocess.Popen[bytes]

    @property
    def vassal(self) -> Path:
        return self.place / "vassals/site.ini"

    def count(self, line: str) -> int:
        return (self.place / "log").read_text(errors="replace").count(line)

    def until(self, claim: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 10 * BUSY
        while not claim():
            assert time.monotonic() < deadline, (what, (self.place / "log").read_text())
            time.sleep(0.05)


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    binary = uwsgi_build.build(Paths(tmp_path), print)
    (tmp_path / "vassals").mkdir()
    (tmp_path / "vassals/site.ini").write_text(
        f"[uwsgi]\nmaster = true\ndie-on-term = true\nsocket = {tmp_path}/site.sock\n"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            # It dies with a killed test, and its vassal with it.
            ["setpriv", "--pdeathsig", "KILL", "--",
             binary, "--emperor", tmp_path / "vassals", "--emperor-freq", "1"],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    found = Court(tmp_path, process)
    try:
        found.until(lambda: found.count(READY) == 1, "the vassal runs")
        yield found
    finally:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(20)
        finally:
            process.kill()


def test_an_earlier_date_is_a_change(court: Court) -> None:
    """The clock went back, or an older file was put back."""
    before = court.vassal.stat().st_mtime
    os.utime(court.vassal, (before - 3600, before - 3600))
    court.until(lambda: court.count(RELOADED) == 1, "an earlier date reloads")
    time.sleep(3)
    assert court.count(RELOADED) == 1


def test_a_reload_of_all_is_one_reload(court: Court) -> None:
    court.process.send_signal(signal.SIGHUP)
    court.until(lambda: court.count(RELOADED) == 1, "SIGHUP reloads")
    time.sleep(3)
    assert court.count(RELOADED) == 1
