"""An upgrade, of uWSGI itself too, restarts no customer's container and loses no request."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from insula.emperor import uwsgi_build
from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import CHECKOUT, UP_OPTIONS, Node, bin_up, until
from tests.system.steady import Steady

pytestmark = pytest.mark.system
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".types", "__pycache__")
# Hooks that only the other uWSGI knows, in place of those that only today's knows: a file that
# reaches the wrong one ends its service, or lets no container boot.
OTHER_HOOKS = {"childwake": "childstir", "cgroupns": "cgroupn2"}
TREES = ("router", "pages", "containers", "daemons")


@pytest.fixture(scope="module")
def newer(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout with other code than the node runs; the node has its own again afterwards."""
    copy = tmp_path_factory.mktemp("newer") / "insula"
    shutil.copytree(CHECKOUT, copy, ignore=NOT_COPIED)
    yield copy
    _upgrade(CHECKOUT)


@pytest.fixture
def other_uwsgi(node: Node, newer: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the newer checkout another uWSGI and files for it; return its binary on the node."""
    with (newer / "emperor/uwsgi/profile.ini").open("a") as profile:
        profile.write("; another one\n")
    for path in [newer / "emperor/container.ini", *(newer / "emperor/services").glob("*.ini")]:
        text = path.read_text()
        for old, new in OTHER_HOOKS.items():
            text = text.replace(f" {old}:", f" {new}:")
        path.write_text(text)
    with monkeypatch.context() as patched:
        patched.setattr(uwsgi_build, "RECIPE", newer / "emperor/uwsgi")
        name = f"uwsgi-{uwsgi_build.key()}"
    cached = uwsgi_build.CACHE / name / "uwsgi"
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(_with_other_hooks((node.paths.uwsgi / "uwsgi").read_bytes()))
    cached.chmod(0o755)
    yield node.paths.lib / name / "uwsgi"
    shutil.rmtree(cached.parent)
    # And back, the same way: no `node down`, which waits for whoever else sees the pool's mount.
    _upgrade(CHECKOUT)
    processes.kill(processes.emperor(node))
    until(lambda: _runs(node, (node.paths.uwsgi / "uwsgi").resolve()), 15 * BUSY, "ours runs")
    node.answers(node.up["demo"]["domain"], 200, within=30 * BUSY)
    assert _waits(node) == []


def _with_other_hooks(binary: bytes) -> bytes:
    for old, new in OTHER_HOOKS.items():
        literal = b"\0%s\0" % old.encode()
        assert binary.count(literal) == 1, f"the plugin's {old} is not where it was"
        binary = binary.replace(literal, b"\0%s\0" % new.encode())
    return binary


def _upgrade(checkout: Path) -> dict[str, Any]:
    done = bin_up(*UP_OPTIONS, checkout=checkout)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def _change(checkout: Path, number: int) -> None:
    with (checkout / "vassals/names.py").open("a") as source:
        source.write(f"# upgrade {number}\n")


def _waits(node: Node) -> list[str]:
    waits: list[str] = node.json("node", "status")["next_start"]
    return waits


def test_upgrades_leave_the_containers_alone(node: Node, newer: Path) -> None:
    demo = node.up["demo"]
    before = processes.first_process(node, int(demo["uid"]))
    code = node.paths.venv.readlink()
    with Steady(node, demo["domain"]) as visitor:
        for number in (1, 2):
            _change(newer, number)
            _upgrade(newer)
    assert node.paths.venv.readlink() != code
    assert processes.first_process(node, int(demo["uid"])) == before
    visitor.lost_nothing(of_at_least=50)
    # What runs since before the upgrades must start again with the code of today.
    processes.kill(processes.tree("containers", node))
    until(lambda: _is_new(node, before), 60, "the demo has booted again")
    node.answers(demo["domain"], 200, within=60)


def _is_new(node: Node, before: int | None) -> bool:
    return processes.first_process(node, int(node.up["demo"]["uid"])) not in (None, before)


def test_another_uwsgi_waits_for_the_next_start(node: Node, newer: Path, other_uwsgi: Path) -> None:
    demo, emperor = node.up["demo"], processes.emperor(node)
    before = processes.first_process(node, int(demo["uid"]))
    trees = {name: processes.tree(name, node) for name in TREES}
    configurator = processes.daemon(node, "insula-configurator")
    with Steady(node, demo["domain"]) as visitor:
        facts = _upgrade(newer)
        _is_held_back(node, facts)
        _goes_on(node, configurator)
        between = node.container("demo", "between")
        node.site(between, "between.insula.test")
    visitor.lost_nothing(of_at_least=50)
    assert processes.emperor(node) == emperor
    assert processes.first_process(node, int(demo["uid"])) == before
    assert {name: processes.tree(name, node) for name in ("router", "containers")} == {
        name: trees[name] for name in ("router", "containers")
    }
    # A start that nobody asked for takes the new uWSGI; so it must take the new files, too.
    processes.kill(emperor)
    seconds = until(lambda: _runs(node, other_uwsgi), 15 * BUSY, "the other uWSGI runs")
    for domain in (demo["domain"], "between.insula.test"):
        seconds += node.answers(domain, 200, within=30 * BUSY)
    print(f"all is back {seconds:.1f} s after the Emperor's death")
    assert _waits(node) == []
    assert "childstir:" in (node.paths.services / "router.ini").read_text()


def _is_held_back(node: Node, facts: dict[str, Any]) -> None:
    assert {"uWSGI", "container.ini", "services/router.ini"} <= set(facts["next_start"])
    assert "services/router.ini (waits)" in facts["changed"]
    assert _waits(node) == facts["next_start"]
    doctor = node.insula("node", "doctor", check=False).stdout
    assert "the new uWSGI and" in doctor
    assert "insula node down, then bin/up" in doctor


def _goes_on(node: Node, before: int | None) -> None:
    """The daemons run the new code below the old uWSGI."""
    until(
        lambda: processes.daemon(node, "insula-configurator") not in (None, before),
        10 * BUSY,
        "the configurator was started again",
    )
    pid = processes.daemon(node, "insula-configurator")
    assert pid is not None
    assert str(node.paths.venv.resolve()) in processes.command(pid)
    assert node.insula("container", "list").returncode == 0


def _runs(node: Node, binary: Path) -> bool:
    try:
        return os.readlink(f"/proc/{processes.emperor(node)}/exe") == str(binary)
    except (AssertionError, OSError):
        return False
