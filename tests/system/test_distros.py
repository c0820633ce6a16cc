"""Distros of a whole node: other architectures and releases, upgrades that fail, local time."""

import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from insula.emperor import aptsources
from insula.emperor.settings import Node as Settings
from insula.emperor.settings import NodeSettings
from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import Node, until

pytestmark = pytest.mark.system

SITES = ("one.distros.test", "two.distros.test")
# A build or an unpack takes long on a busy machine.
SECONDS = 600 * BUSY


@pytest.fixture(scope="module")
def customer(node: Node) -> str:
    node.insula("customer", "create", "ground")
    return "ground"


@pytest.fixture(scope="module")
def small(node: Node) -> str:
    """A small distro of the machine's own release."""
    _insula(node, "distro", "build", "small", "--minimal", "--cached")
    return "small"


@pytest.fixture(scope="module")
def pair(node: Node, customer: str, small: str) -> tuple[int, int]:
    """Two containers on the small distro, each with a site."""
    uids = []
    for name, site in zip(("first", "second"), SITES, strict=True):
        uid = node.container(customer, name, "--distro", small)
        node.insula("domain", "add", site, "--customer", customer)
        node.site(uid, site)
        uids.append(uid)
    return uids[0], uids[1]


@pytest.fixture(scope="module")
def broken(node: Node, tmp_path_factory: pytest.TempPathFactory, small: str) -> Iterator[Path]:
    """An archive of the small distro whose uWSGI does not start."""
    target = tmp_path_factory.mktemp("broken") / "broken.tar"
    tree = node.paths.distros / small
    subprocess.run(["tar", f"--directory={tree}/", "--create", f"--file={target}", "."], check=True)
    with tarfile.open(target, "a") as tar:
        program = b"#!/bin/sh\necho this uWSGI is broken\nexit 1\n"
        member = tarfile.TarInfo("./usr/bin/uwsgi")
        member.size, member.mode = len(program), 0o755
        tar.addfile(member, io.BytesIO(program))
    yield target
    target.unlink()


def _command(node: Node, *words: str) -> list[str]:
    return [str(node.root / "var/lib/insula/venv/bin/insula"), "--root", str(node.root), *words]


def _insula(node: Node, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The operator's command line with all the time that a build needs."""
    done = subprocess.run(_command(node, *words), capture_output=True, text=True, timeout=SECONDS)
    assert not check or done.returncode == 0, f"insula {words}: {done.stdout}{done.stderr}"
    return done


def _row(node: Node, name: str) -> dict[str, Any]:
    rows = {row["name"]: row for row in node.json("distro", "list")}
    return dict(rows[name])


def _tree(node: Node, uid: int) -> str:
    """The build on which a container's first process really stands."""
    try:
        pid = processes.first_process(node, uid)
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return "none"  # it ends at this moment
    return [Path(line.split()[3]).name for line in lines if line.split()[4] == "/"][-1]


def _all_on(node: Node, uids: tuple[int, ...], build: str) -> None:
    assert {_tree(node, uid) for uid in uids} == {f".{build}"}
    for site in SITES:
        node.answers(site, 200, within=15 * BUSY)


def test_an_upgrade_moves_every_container_and_its_site(node: Node, pair: tuple[int, int]) -> None:
    before = _row(node, "small")
    planned = json.loads(_insula(node, "distro", "upgrade", "small", "--dry-run", "--json").stdout)
    assert planned["left"] == list(pair) and _row(node, "small") == before
    begin = time.monotonic()
    done = _insula(node, "distro", "upgrade", "small", "--cached", "--json")
    print(f"upgrade of two containers: {time.monotonic() - begin:.1f} s")
    found = json.loads(done.stdout)
    assert (found["state"], found["moved"], found["failed"]) == ("done", list(pair), [])
    assert re.search(rf"{pair[0]} first: on the new build in [0-9.]+ s, 1 domains", done.stderr)
    after = _row(node, "small")
    assert after["build"] != before["build"] and after["behind"] == [] and after["rollback"]
    _all_on(node, pair, after["build"])


def test_a_failing_upgrade_takes_all_back_and_says_why(
    node: Node, pair: tuple[int, int], broken: Path
) -> None:
    before = _row(node, "small")
    words = ["distro", "upgrade", "small", "--from", str(broken), "--timeout", "12", "--json"]
    done = _insula(node, *words, check=False)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["state"], found["failed"][0]["uid"]) == ("undone", pair[0])
    assert found["failed"][0]["reason"].startswith(f"nobody announces {SITES[0]}")
    assert f"container {pair[0]}: nobody announces" in done.stderr
    assert "this uWSGI is broken" in "\n".join(found["failed"][0]["log"])
    after = _row(node, "small")
    assert after["build"] == before["build"] and not after["upgrading"]
    _all_on(node, pair, before["build"])
    builds = [path.name for path in node.paths.distros.glob(".small+*") if path.is_dir()]
    assert builds == [f".{before['build']}"]


def test_a_canary_waits_for_the_operators_word(node: Node, pair: tuple[int, int]) -> None:
    before = _row(node, "small")["build"]
    only = ["distro", "upgrade", "small", "--cached", "--only", str(pair[1]), "--json"]
    found = json.loads(_insula(node, *only).stdout)
    assert (found["state"], found["moved"], found["left"]) == ("open", [pair[1]], [pair[0]])
    new = found["new"].removeprefix(".")
    assert [_tree(node, uid) for uid in pair] == [f".{before}", f".{new}"]
    # Neither a crash nor a reboot on request leads away from where each stands now.
    for uid, build in zip(pair, (before, new), strict=True):
        os.kill(processes.first_process(node, uid) or -1, signal.SIGKILL)
        until(lambda uid=uid: bool(processes.first_process(node, uid)), 20 * BUSY, "it boots")  # type: ignore[misc]
        node.insula("container", "reboot", str(uid), "--wait")
        assert _tree(node, uid) == f".{build}"
    refused = _insula(node, "distro", "build", "small", "--minimal", "--cached", check=False)
    assert refused.returncode == 5 and "an upgrade of small is not finished" in refused.stderr
    undone = json.loads(_insula(node, "distro", "rollback", "small", "--json").stdout)
    assert (undone["state"], undone["moved"]) == ("undone", [pair[1]])
    _all_on(node, pair, before)


def test_a_killed_upgrade_is_finished_by_the_next_run(node: Node, pair: tuple[int, int]) -> None:
    process = subprocess.Popen(
        _command(node, "distro", "upgrade", "small", "--cached"),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "on the new build" in line:
            break
    process.kill()
    process.wait()
    process.stderr.close()
    assert _row(node, "small")["upgrading"]
    found = json.loads(_insula(node, "distro", "upgrade", "small", "--cached", "--json").stdout)
    assert (found["state"], found["failed"]) == ("done", [])
    row = _row(node, "small")
    assert f".{row['build']}" == found["new"] and not row["upgrading"]
    _all_on(node, pair, row["build"])


def test_a_build_moves_nobody_until_it_is_rebooted(node: Node, pair: tuple[int, int]) -> None:
    before = _row(node, "small")["build"]
    _insula(node, "distro", "build", "small", "--minimal", "--cached")
    row = _row(node, "small")
    assert row["build"] != before and row["behind"] == list(pair)
    os.kill(processes.first_process(node, pair[0]) or -1, signal.SIGKILL)
    until(lambda: _tree(node, pair[0]) == f".{before}", 20 * BUSY, "it boots on the old build")
    node.insula("container", "reboot", str(pair[0]), "--wait")
    assert [_tree(node, uid) for uid in pair] == [f".{row['build']}", f".{before}"]


def test_another_distro_is_one_restart_away(node: Node, customer: str, small: str) -> None:
    uid = node.container(customer, "mover")
    assert _tree(node, uid).startswith(".default+")
    done = node.insula("container", "set", str(uid), "--distro", small, "--wait")
    assert "distro: restart" in done.stderr and _tree(node, uid).startswith(".small+")
    refused = node.insula("container", "set", str(uid), "--distro", "nix", check=False)
    assert refused.returncode == 2 and "there is no distro nix" in refused.stderr
    node.insula("container", "destroy", str(uid), "--yes")


def test_local_time_and_language_reach_every_process(node: Node, customer: str) -> None:
    uid = node.container(customer, "rome", "--timezone", "Europe/Rome", "--locale", "it_IT.UTF-8")
    here = "import datetime; print(datetime.datetime(2026, 7, 1).astimezone().tzname())"
    asked = f"python3 -c '{here}'; date -d @1790000000 +%H:%M; cat /etc/timezone; locale | head -1"
    expected = "CEST\n16:13\nEurope/Rome\nLANG=it_IT.UTF-8\n"
    assert node.ssh(uid, asked).stdout == expected
    inside = node.insula("enter", str(uid), "--", "sh", "-c", asked)
    assert inside.stdout.replace("\r", "") == expected
    # sorted as Italian, where case and accents come after letters
    assert node.ssh(uid, "printf 'z\\nÈ\\nf\\nE\\n' | sort | tr -d '\\n'").stdout == "EÈfz"
    node.insula("domain", "add", "rome.distros.test", "--customer", customer)
    app = """
import os, time
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.environ['TZ']} {os.environ['LANG']} {time.tzname[0]}".encode()]
"""
    node.ssh(uid, "cat > rome.py", stdin=app)
    vassal = "[uwsgi]\ndomain = rome.distros.test\nplugin = python3\nwsgi-file = $(HOME)/rome.py\n"
    node.ssh(uid, "cat > vassals/rome.ini", stdin=vassal)
    node.answers("rome.distros.test", 200, within=15 * BUSY)
    assert node.get("rome.distros.test").body == b"Europe/Rome it_IT.UTF-8 CET"
    changed = node.insula("container", "set", str(uid), "--timezone", "Asia/Tokyo", "--wait")
    assert "timezone: restart" in changed.stderr
    assert node.ssh(uid, "date +%Z").stdout == "JST\n"
    node.insula("container", "destroy", str(uid), "--yes")


def test_what_a_distro_lacks_is_said_and_the_container_boots(
    node: Node, customer: str, small: str
) -> None:
    words = ["--customer", customer, "--name", "lacking", "--distro", small]
    words += ["--locale", "it_IT.UTF-8", "--ssh-key", f"{node.key}.pub", "--wait"]
    refused = node.insula("container", "create", *words, check=False)
    assert "its distro small has no locale it_IT.UTF-8: it runs with C.UTF-8" in refused.stderr
    rows = [row for row in node.json("container", "list") if row["name"] == "lacking"]
    assert node.ssh(rows[0]["uid"], "echo $LANG").stdout == "C.UTF-8\n"
    wrong = node.insula(
        "container", "set", str(rows[0]["uid"]), "--timezone", "Europe/Rom", check=False
    )
    assert wrong.returncode == 2 and "perhaps Europe/Rome" in wrong.stderr
    node.insula("container", "destroy", str(rows[0]["uid"]), "--yes")


def _mirror() -> str:
    """The machine's own main package source; a 32-bit distro needs no other."""
    line = aptsources.host_sources(aptsources.host_suite())[0]
    return next(word for word in line.split() if "://" in word and not word.startswith("["))


def test_a_32_bit_distro_serves_a_site(node: Node, customer: str) -> None:
    words = ["--minimal", "--arch", "i386", "--mirror", _mirror(), "--cached"]
    _insula(node, "distro", "build", "narrow", *words)
    row = _row(node, "narrow")
    assert row["architecture"] == "i386" and row["size_bytes"] > 100 << 20
    uid = node.container(customer, "narrow", "--distro", "narrow")
    # Sockets too: its C library opens them by a call that the other distros' filter refuses.
    here = "import socket, sys; socket.create_server((str(), 0)); print(sys.maxsize)"
    asked = f"uname -m; dpkg --print-architecture; python3 -c '{here}'"
    expected = "i686\ni386\n2147483647\n"
    assert node.ssh(uid, asked).stdout == expected
    inside = node.insula("enter", str(uid), "--", "sh", "-c", asked)
    assert inside.stdout.replace("\r", "") == expected
    node.insula("domain", "add", "narrow.distros.test", "--customer", customer)
    node.site(uid, "narrow.distros.test", words="32 bits")
    assert node.get("narrow.distros.test").body == b"32 bits"
    node.insula("container", "destroy", str(uid), "--yes")


def test_programs_that_cannot_run_here_are_refused_before_anything_is_fetched(node: Node) -> None:
    begin = time.monotonic()
    done = _insula(node, "distro", "build", "foreign", "--arch", "s390x", check=False)
    assert done.returncode == 2 and "cannot execute programs of s390x" in done.stderr
    assert time.monotonic() - begin < 10 * BUSY


@pytest.mark.soak
def test_a_second_release_stands_beside_the_first(node: Node, customer: str) -> None:
    suite = "trixie" if aptsources.host_suite() != "trixie" else "bookworm"
    _insula(node, "distro", "build", "other", "--minimal", "--suite", suite)
    uid = node.container(customer, "other", "--distro", "other")
    first = node.container(customer, "usual")
    asked = ". /etc/os-release; echo $VERSION_CODENAME"
    assert node.ssh(uid, asked).stdout == f"{suite}\n"
    assert node.ssh(first, asked).stdout == f"{aptsources.host_suite()}\n"
    node.insula("domain", "add", "other.distros.test", "--customer", customer)
    node.site(uid, "other.distros.test")
    assert _row(node, "other")["suite"] == suite
    for item in (uid, first):
        node.insula("container", "destroy", str(item), "--yes")


@pytest.mark.soak
def test_cron_keeps_local_time(node: Node, customer: str) -> None:
    uid = node.container(customer, "cron", "--timezone", "Asia/Kolkata")
    hour = node.ssh(uid, "date +%H").stdout.strip().lstrip("0") or "0"
    vassal = (
        f"[uwsgi]\nmaster = true\nsocket = /tmp/c.sock\ncron = -1 {hour} -1 -1 -1 date > ~/ran\n"
    )
    node.ssh(uid, "cat > vassals/cron.ini", stdin=vassal)
    until(lambda: "IST" in node.ssh(uid, "cat ran", check=False).stdout, 150, "cron ran")


@pytest.mark.soak
def test_the_apis_own_root_is_renewed_with_the_default_distro(node: Node) -> None:
    name = Settings(node.paths, NodeSettings()).settings.default_distro
    before = os.readlink(node.paths.distros / "insula-api")
    _insula(node, "distro", "upgrade", name, "--cached")
    after = os.readlink(node.paths.distros / "insula-api")
    assert after != before and _tree(node, 30000) == after
    assert node.json("customer", "list")
