"""The supervisor: starts the Emperor again when it dies, ends with it when told, leaves nothing."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from tests.patience import BUSY

pytestmark = pytest.mark.kernel

FAKE_EMPEROR = """\
#!/bin/sh
trap 'echo quit >>{root}/events; kill $pause; exit 0' QUIT
echo "start $2" >>{root}/events
echo $$ >{root}/emperor.pid
sleep 60 & pause=$!
wait
"""
FAKE_INSULA = """\
#!/bin/sh
echo "$@" >>{root}/events
"""


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    lib, run = tmp_path / "var/lib/insula", tmp_path / "run/insula"
    for path, text in ((lib / "uwsgi/uwsgi", FAKE_EMPEROR), (lib / "venv/bin/insula", FAKE_INSULA)):
        path.parent.mkdir(parents=True)
        path.write_text(text.format(root=tmp_path))
        path.chmod(0o755)
    (lib / "log").mkdir()
    (lib / "log/emperor.log").write_text("")
    run.mkdir(parents=True)
    (run / "services.cgroup").write_text(f"{tmp_path}\n")
    script = str(files("insula.emperor") / "supervise.sh")
    process = subprocess.Popen(["/bin/sh", script, str(tmp_path)], start_new_session=True)
    try:
        yield tmp_path, process
    finally:
        # Its own session: nothing else is in this group.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10 * BUSY
    while not is_true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def events(root: Path) -> list[str]:
    path = root / "events"
    return path.read_text().splitlines() if path.exists() else []


def test_a_dead_emperor_is_started_again_after_the_node_is_prepared(
    supervised: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    root, _ = supervised
    ini = f"start {root}/etc/insula/emperor.ini"
    boot = f"--root {root} node boot"
    wait_until(lambda: events(root) == [boot, ini] and (root / "emperor.pid").exists())
    os.kill(int((root / "emperor.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: events(root) == [boot, ini, boot, ini])


def test_it_joins_the_group_by_which_the_next_start_finds_leftovers(
    supervised: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    root, _ = supervised
    wait_until(lambda: (root / "emperor.pid").exists())
    assert (root / "cgroup.procs").read_text() == (root / "emperor.pid").read_text()


def test_a_request_to_stop_ends_the_emperor_in_order_and_leaves_no_process(
    supervised: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    root, process = supervised
    wait_until(lambda: (root / "emperor.pid").exists())
    process.terminate()
    assert process.wait(timeout=10) == 0
    assert events(root)[-1] == "quit"
    wait_until(lambda: not processes_of(process.pid))


def processes_of(session: int) -> list[str]:
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()
