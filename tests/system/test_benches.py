"""The benches run on a real node, measure something, and leave nothing behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import CHECKOUT, HTTP_PORT, SSH_PORT, Node

pytestmark = [pytest.mark.system, pytest.mark.soak]


def _bench(node: Node, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", f"bench.{module}", "--root", str(node.root)]
    return subprocess.run(
        [*argv, "--ssh-port", str(SSH_PORT), *words],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def test_peers_are_measured_beside_us(node: Node, tmp_path: Path) -> None:
    peers = [name for name, program in (("bubblewrap", "bwrap"), ("lxc", "lxc-start"),
                                        ("nginx", "nginx")) if shutil.which(program)]  # fmt: skip
    told, tables = tmp_path / "peers.json", tmp_path / "peers.md"
    place = tmp_path / "place"
    done = _bench(
        node, "peers", "--peers", ",".join([*peers, "podman-crun"]), "--runs", "1",
        "--containers", "2", "--rounds", "1", "--seconds", "1", "--place", str(place),
        "--json", str(told), "--markdown", str(tables),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    boards = json.loads(told.read_text())["boards"]
    start = boards[0]["figures"]["start until the app answers HTTP, ms"]
    assert start["Insula"]["median"] > 0 and start["Insula"]["ratio"] == 1.0
    for peer in start.values():
        assert "reason" in peer or peer["median"] > 0
    assert "| start until the app answers HTTP, ms |" in tables.read_text()
    assert not place.exists()
    names = {item["name"] for item in node.json("container", "list")}
    assert not any(name.startswith("insula-peer-") for name in names)


def test_no_request_is_lost_when_one_of_two_apps_goes(node: Node, tmp_path: Path) -> None:
    told = tmp_path / "reload.json"
    done = _bench(
        node, "reload", "--http-port", str(HTTP_PORT), "--events", "10", "--json", str(told),
        "reload", "remove", "kill",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    outcomes = {outcome["scenario"]: outcome for outcome in json.loads(told.read_text())}
    assert all(outcome["requests"] > 100 for outcome in outcomes.values())
    assert {(o["lost"], o["twice"]) for o in outcomes.values()} == {(0, 0)}
    # What a removed or reloaded app had begun, it ends.
    assert outcomes["reload"]["in_work"] == outcomes["remove"]["in_work"] == 0
