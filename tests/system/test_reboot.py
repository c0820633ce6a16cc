"""The power goes: in a quiet node, in the middle of a change, of a start, of a distro's build."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import places
from tests.system import processes
from tests.system.conftest import CHECKOUT, ROOT, UP_OPTIONS, Node, bin_up, until
from tests.system.reboot import cut_power

pytestmark = pytest.mark.system

SITE = "power.example.org"
# Where in a change the power goes, in seconds after the API has acknowledged it.
SOAK_MOMENTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
UP_MOMENTS = tuple(0.3 + step * 0.8 for step in range(10))


@pytest.fixture(scope="module")
def uid(node: Node) -> int:
    node.insula("customer", "create", "steadfast")
    found = node.container("steadfast", "steadfast")
    node.insula("domain", "add", SITE, "--customer", "steadfast")
    node.site(found, SITE)
    node.ssh(found, "echo mine > kept && sync kept")
    return found


def power_comes_back(node: Node) -> float:
    """Start the node as a machine would at its boot; the seconds until all that should be is."""
    started = time.monotonic()
    done = bin_up(*UP_OPTIONS)
    assert done.returncode == 0, done.stderr
    until(lambda: processes.is_whole(node), 60, "the node has done all that was acknowledged")
    node.answers(SITE, 200, within=60)
    return time.monotonic() - started


def test_a_node_comes_back_from_a_cut_of_the_power(node: Node, uid: int) -> None:
    before = node.json("container", "list")
    cut_power(node)
    print(f"whole {power_comes_back(node):.1f} s after the start")
    keep = ("uid", "name", "pids_max", "state", "revision")
    after = node.json("container", "list")
    assert [[c[key] for key in keep] for c in after] == [[c[key] for key in keep] for c in before]
    assert node.ssh(uid, "cat kept").stdout == "mine\n"


def _create(node: Node, name: str) -> Callable[[], bool]:
    node.insula("container", "create", "--customer", "steadfast", "--name", name)
    return lambda: any(c["name"] == name for c in node.json("container", "list"))


def _change(node: Node, name: str) -> Callable[[], bool]:
    pids = random.randrange(100, 400)
    uid = _uid(node, "steadfast")
    node.insula("container", "set", uid, "--pids", str(pids))
    return lambda: next(
        c["pids_max"] == pids for c in node.json("container", "list") if str(c["uid"]) == uid
    )


def _destroy(node: Node, name: str) -> Callable[[], bool]:
    node.insula("container", "create", "--customer", "steadfast", "--name", name, "--wait")
    uid = _uid(node, name)
    node.insula("container", "destroy", uid, "--yes")

    def is_gone() -> bool:
        until(lambda: not (node.paths.vassals / f"{uid}.ini").exists(), 20, "its file is gone")
        aside = [path.name for path in node.paths.removed.iterdir()]
        until(lambda: not places.home(node.paths, int(uid)).exists(), 20, "its home is set aside")
        aside = [path.name for path in node.paths.removed.iterdir()]
        return len([item for item in aside if item.startswith(f"{uid}-")]) == 1

    return is_gone


def _uid(node: Node, name: str) -> str:
    return next(str(c["uid"]) for c in node.json("container", "list") if c["name"] == name)


CHANGES = {"create": _create, "change": _change, "destroy": _destroy}


@pytest.mark.parametrize("what", ["create", "destroy"])
def test_what_was_acknowledged_is_done_after_the_power_came_back(
    node: Node, uid: int, what: str
) -> None:
    _cut_in_the_middle(node, what, 0.0)


@pytest.mark.soak
@pytest.mark.parametrize("moment", SOAK_MOMENTS)
@pytest.mark.parametrize("what", CHANGES)
def test_what_was_acknowledged_is_done_wherever_the_power_goes(
    node: Node, uid: int, what: str, moment: float
) -> None:
    _cut_in_the_middle(node, what, moment)


def _cut_in_the_middle(node: Node, what: str, moment: float) -> None:
    name = f"cut-{what}-{int(moment * 1000)}"
    is_done = CHANGES[what](node, name)
    time.sleep(moment)
    cut_power(node)
    print(f"{what}, cut after {moment} s: whole {power_comes_back(node):.1f} s after the start")
    assert is_done()
    for item in node.json("container", "list"):
        if item["name"] == name:
            node.insula("container", "destroy", str(item["uid"]), "--yes")


@pytest.mark.soak
@pytest.mark.parametrize("moment", UP_MOMENTS)
def test_a_start_that_is_killed_anywhere_is_finished_by_the_next(
    node: Node, uid: int, moment: float, tmp_path: Path
) -> None:
    cut_power(node)
    running = subprocess.Popen(
        [CHECKOUT / "bin/up", "--root", ROOT, *UP_OPTIONS],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    time.sleep(moment)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    power_comes_back(node)


def test_a_build_of_a_distro_that_is_killed_leaves_nothing(node: Node, tmp_path: Path) -> None:
    """No process, no mount, no distro; and the next build has nothing in its way."""
    before = node.json("distro", "list")
    program = str(node.paths.venv / "bin/insula")
    words = [program, "--root", str(node.root), "distro", "build", "half"]
    building = subprocess.Popen(
        [*words, "--minimal"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    until(lambda: bool(_below(building.pid)), 30, "mmdebstrap runs")
    time.sleep(4)
    started = _below(building.pid)
    building.kill()
    building.wait()
    until(lambda: not any(map(processes.is_alive, started)), 30, "all of its processes ended")
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert node.json("distro", "list") == before


def _below(pid: int) -> list[int]:
    return [item for item in processes.below(pid) if "mmdebstrap" in processes.command(item)]
