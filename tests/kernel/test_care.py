"""The Emperor's care (uwsgi/insula/care.c): it wakes what is stopped and ends what is silent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from insula.emperor import uwsgi_build
from insula.emperor.settings import Paths
from tests.patience import BUSY

pytestmark = pytest.mark.kernel

# One beats on, the other falls silent after a moment, as if it waited for a lock for ever.
DAEMON = """
import sys, time
from pathlib import Path
from insula.emperor.daemon.beat import Beat
beat, count = Beat(Path(sys.argv[1])), 0
with open(sys.argv[2], "a") as starts:
    starts.write("start\\n")
while True:
    if sys.argv[3] == "steady" or count < 3:
        beat()
    count += 1
    time.sleep(1)
"""
SERVICE = """\
[uwsgi]
master = true
die-on-term = true
care-for-parent = 2
hook-master-start = childwake:
"""


@dataclass(frozen=True)
class Court:
    """A root Emperor with one service, whose two daemons beat."""

    place: Path
    process: subprocess.Popen[bytes]

    def starts(self, name: str) -> int:
        path = self.place / name
        return len(path.read_text().split()) if path.exists() else 0

    def log(self) -> str:
        return (self.place / "log").read_text(errors="replace")

    def daemon(self, name: str) -> int:
        """The process of one of the daemons; 0 while there is none."""
        for entry in self.place.joinpath("beats").iterdir():
            pid = entry.name.partition("-")[0]
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if name.encode() in words:
                return int(pid)
        return 0


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    binary = uwsgi_build.build(Paths(tmp_path), print)
    for name in ("services", "beats"):
        (tmp_path / name).mkdir()
    (tmp_path / "daemon.py").write_text(DAEMON)
    daemons = "".join(
        f"attach-daemon2 = cmd=exec {sys.executable} {tmp_path}/daemon.py {tmp_path}/beats "
        f"{tmp_path}/{name} {name},stopsignal=15,reloadsignal=15\n"
        for name in ("steady", "silent")
    )
    service = f"{SERVICE}{daemons}"
    (tmp_path / "services/daemons.ini").write_text(service)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            # It dies with a killed test, and its services with it.
            ["setpriv", "--pdeathsig", "KILL", "--",
             binary, "--emperor", tmp_path / "services", "--emperor-freq", "1",
             "--emperor", f"care://2,8,{tmp_path}/beats"],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield Court(tmp_path, process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(20)
        finally:
            process.kill()


def until(claim: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_silent_daemon_is_killed_a_steady_one_is_not(court: Court) -> None:
    until(lambda: court.starts("silent") == 2, 25 * BUSY, "the silent one was started again")
    assert "is silent for" in court.log()
    assert court.starts("steady") == 1


def test_stopped_ones_go_on_and_nothing_is_started_anew(court: Court) -> None:
    until(lambda: court.daemon("steady") > 0, 10 * BUSY, "it runs")
    for pid in (court.daemon("steady"), court.process.pid):
        _stop_and_wait(pid)
    assert court.starts("steady") == 1
    assert court.log().count("sending it SIGCONT") >= 2


def test_the_emperor_ends_as_soon_as_its_services_have(court: Court) -> None:
    until(lambda: court.starts("steady") == 1, 10 * BUSY, "it runs")
    started = time.monotonic()
    court.process.send_signal(signal.SIGQUIT)
    court.process.wait(20)
    seconds = time.monotonic() - started
    print(f"ended after {seconds:.2f} s")
    # Stock uWSGI takes 1 s a daemon and 1 s a level: 4 s.
    assert seconds < 3.0


def _stop_and_wait(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    until(lambda: _state(pid) == "T", 5, "it is stopped")
    until(lambda: _state(pid) != "T", 13 * BUSY, "it goes on")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
