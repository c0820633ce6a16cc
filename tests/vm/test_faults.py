"""Clocks that jump, power that is cut, a full disk: after test_debian.py, in the same guest."""

import json
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.vm.conftest import Results
from tests.vm.guest import Guest
from tests.vm.test_debian import (
    DEMO,
    NETWORK,
    SSH_WORDS,
    bin_up,
    take_a_small_pool,
    until_served,
)

pytestmark = pytest.mark.vm

# An app announces itself every 10 s and is believed for 35: what a jump breaks shows within these.
AFTER_JUMP_SECONDS = 45
FRESH = "fresh.insula.localhost"
# Ahead, back, behind what was ever right, right again.
JUMPS = ("+1 hour", "-1 hour", "-1 hour", "+1 hour")
LIB = "/var/lib/insula"
# Bracketed, or the pattern would find the shell that looks for it.
DAEMONS = {
    "configurator": "bin/[i]nsula-configurator",
    "dominator": "bin/[i]nsula-dominator",
    "collector": "bin/[i]nsula-collector",
    "sshd": "[s]shd -D -e -f /etc/ssh/sshd_config .listener.",
}
TREES = ("router", "containers")


@dataclass(slots=True)
class Visit:
    """What a visitor saw, known at the end: the requests that went wrong, the longest wait."""

    failures: list[str] = field(default_factory=list)
    longest: str = ""


@contextmanager
def visited(machine: Guest) -> Iterator[Visit]:
    """A visitor inside the guest while the block runs."""
    machine.run("rm -f /tmp/enough")
    said: list[str] = []

    def go() -> None:
        script = "/root/insula/tests/vm/guest/visitor.py"
        done = machine.run(f"python3 {script} {DEMO} /tmp/enough", check=False, timeout=900)
        said.extend(done.stdout.splitlines())

    thread = threading.Thread(target=go)
    thread.start()
    visit = Visit()
    try:
        time.sleep(1)
        yield visit
    finally:
        machine.run("touch /tmp/enough")
        thread.join()
    # A visitor that did not come to its end has shown nothing.
    assert said and said[-1].startswith("longest "), said
    visit.failures, visit.longest = said[:-1], said[-1].removeprefix("longest ")


def listed(machine: Guest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(machine.run("insula container list --json").stdout)
    return found


def is_whole(machine: Guest) -> bool:
    """The node has applied what the API says, without an error."""
    done = machine.run("insula container list --json", check=False, timeout=60)
    if done.returncode != 0:
        return False
    for item in json.loads(done.stdout):
        applied = item["applied"]
        if not applied or applied["error"] or applied["revision"] < item["revision"]:
            return False
    return True


def until_whole(machine: Guest, *, within: float) -> float:
    start = time.monotonic()
    while not is_whole(machine):
        assert time.monotonic() - start < within, machine.run("insula node status").stdout
        time.sleep(0.5)
    return time.monotonic() - start


def test_the_node_comes_up_again_after_it_was_down(machine: Guest, results: Results) -> None:
    take_a_small_pool(machine)
    _, seconds = bin_up(machine, f"--network {NETWORK}")
    results.add(machine.suite, "bin/up after down", seconds)
    until_served(machine, within=60)
    until_whole(machine, within=60)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_of_the_clock_takes_no_site_away(
    machine: Guest, results: Results, jump: str
) -> None:
    """Nor ssh, nor a change, nor a new site; the app waits for its clock, its site does not."""
    with visited(machine) as visit:
        machine.run(f"date -s '{jump}'")
        start = time.monotonic()
        machine.run(f"ssh {SSH_WORDS} 30001@127.0.0.1 true")
        machine.run("insula container set 30001 --pids 256 --wait", timeout=120)
        machine.run("insula container set 30001 --pids 512 --wait", timeout=120)
        reload_demo(machine)
        seconds = new_site(machine)
        time.sleep(max(0.0, AFTER_JUMP_SECONDS - (time.monotonic() - start)))
    results.add(machine.suite, f"clock {jump}: requests lost", str(len(visit.failures)))
    results.add(machine.suite, f"clock {jump}: longest wait, app reloaded", visit.longest)
    results.add(machine.suite, f"clock {jump}: a new container's site", seconds)
    assert visit.failures == []


def reload_demo(machine: Guest) -> None:
    """Touch the app's file, as its customer would, and see that it is taken up."""
    asked = "insula logs 30001 -n 1000 | grep -c 'reload the uwsgi instance demo.ini'"
    before = machine.run(asked, check=False).stdout
    machine.run("insula enter 30001 -- touch vassals/demo.ini")
    start = time.monotonic()
    while machine.run(asked, check=False).stdout == before:
        assert time.monotonic() - start < 30, "the touched app is not reloaded"
        time.sleep(0.5)


def new_site(machine: Guest) -> float:
    """Create a container, put an app in, wait for its site, destroy it; the seconds until then."""
    start = time.monotonic()
    words = "--customer demo --name fresh --ssh-key /etc/insula/demo/id_ed25519.pub --wait"
    created = machine.run(f"insula container create --json {words}", timeout=180)
    uid = json.loads(created.stdout)["uid"]
    try:
        vassal = (
            "[uwsgi]", f"domain = {FRESH}", "plugin = python3",
            f"wsgi-file = /containers/{uid}/app.py",
        )  # fmt: skip
        put = (
            f"cat > app.py && printf '%s\\n' {shlex.join(vassal)} > app.ini && mv app.ini vassals/"
        )
        source = "insula enter 30001 -- cat app/hello.py"
        machine.run(f"{source} | ssh {SSH_WORDS} {uid}@127.0.0.1 {shlex.quote(put)}")
        until_served(machine, within=60, host=FRESH)
        return time.monotonic() - start
    finally:
        machine.run(f"insula container destroy {uid} --yes", timeout=120)


@pytest.mark.parametrize("name", DAEMONS)
def test_a_killed_daemon_is_not_missed(machine: Guest, results: Results, name: str) -> None:
    with visited(machine) as visit:
        before = pid_of(machine, DAEMONS[name])
        assert before
        machine.run(f"kill -9 {before}")
        start = time.monotonic()
        while pid_of(machine, DAEMONS[name]) in ("", before):
            assert time.monotonic() - start < 30, f"{name} is not back"
            time.sleep(0.2)
        results.add(machine.suite, f"kill -9 of {name}: back", time.monotonic() - start)
        time.sleep(3)
    assert visit.failures == []


def pid_of(machine: Guest, pattern: str) -> str:
    """The oldest process with such a command line."""
    return machine.run(f"pgrep -o -f '{pattern}'", check=False).stdout.strip()


@pytest.mark.parametrize("name", TREES)
def test_a_killed_tree_comes_back(machine: Guest, results: Results, name: str) -> None:
    status = json.loads(machine.run("insula node status --json").stdout)
    pid = next(item["pid"] for item in status["services"] if item["name"] == name)
    machine.run(f"kill -9 {pid}")
    time.sleep(1)
    results.add(machine.suite, f"site after kill -9 of {name}", until_served(machine, within=90))
    until_whole(machine, within=90)


def test_a_full_root_disk_stops_changes_and_nothing_else(machine: Guest, results: Results) -> None:
    image = machine.run(f"stat -c '%s %b' {LIB}/pool.img").stdout.split()
    is_reserved = int(image[1]) * 512 >= int(image[0])
    results.add(machine.suite, "pool reserved on the disk", str(is_reserved))
    if not is_reserved:
        pytest.skip("a sparse pool on a full disk goes read-only: the doctor warns of it")
    with visited(machine) as visit:
        fill = "fallocate -l $(($(df --output=avail -B1 / | tail -n 1) - 4096)) /ballast"
        machine.run(f"{fill}; dd if=/dev/zero of=/ballast2 bs=64k 2>/dev/null", check=False)
        machine.run("insula container set 30001 --pids 257", check=False)
        time.sleep(5)
        machine.run("rm -f /ballast /ballast2")
        machine.run("insula container set 30001 --pids 258 --wait", timeout=120)
    assert visit.failures == []
    until_whole(machine, within=60)


def test_a_deleted_database_is_refused_and_restored(machine: Guest, results: Results) -> None:
    home = f"{LIB}/pool/containers/30000/home"
    # An older copy has other keys than the customer's apps: their sites would wait for new ones.
    until_copied(machine, within=120)
    with visited(machine) as visit:
        machine.run(f"rm {home}/api.sqlite3*")
        start = time.monotonic()
        # The first answer may be that it starts again.
        while "insula node restore" not in refusal(machine):
            assert time.monotonic() - start < 60, "the API does not name the remedy"
            time.sleep(1)
        start = time.monotonic()
        machine.run("insula node restore --yes", timeout=180)
        results.add(machine.suite, "insula node restore", time.monotonic() - start)
    assert visit.failures == []
    assert [item["uid"] for item in listed(machine)] == [30001]


def until_copied(machine: Guest, *, within: float) -> None:
    """Wait for a copy of the database as it is now."""
    revision = json.loads(machine.run("insula node status --json").stdout)["revision"]
    start = time.monotonic()
    while f"-{revision}-" not in machine.run("insula node restore --list").stdout:
        assert time.monotonic() - start < within, f"no copy of revision {revision}"
        time.sleep(2)


def refusal(machine: Guest) -> str:
    """What the API says to somebody who asks it; never an answer, for its database is gone."""
    done = machine.run("insula container list", check=False)
    assert done.returncode != 0
    return done.stderr


def test_power_that_is_cut_loses_nothing_acknowledged(machine: Guest, results: Results) -> None:
    """In the middle of a container's creation, of a change and of a destruction."""
    words = "insula container create --json --customer demo --name cut"
    created = json.loads(machine.run(words).stdout)
    boot = machine.cut_power()
    results.add(machine.suite, "power cut: boot to ssh", boot)
    results.add(machine.suite, "power cut: site", until_served(machine, within=120))
    until_whole(machine, within=120)
    assert created["uid"] in [item["uid"] for item in listed(machine)]
    machine.run(f"insula container set {created['uid']} --pids 99")
    machine.cut_power()
    until_whole(machine, within=120)
    assert {item["uid"]: item["pids_max"] for item in listed(machine)}[created["uid"]] == 99
    machine.run(f"insula container destroy {created['uid']} --yes")
    machine.cut_power()
    until_served(machine, within=120)
    until_whole(machine, within=120)
    assert created["uid"] not in [item["uid"] for item in listed(machine)]
    group = f"/sys/fs/cgroup/system.slice/insula.service/insula/1/{created['uid']}"
    assert machine.run(f"ls {group}", check=False).returncode != 0
    assert machine.run("insula node removed").stdout.count(str(created["uid"])) == 1


def test_power_that_is_cut_in_bin_up_needs_one_more_bin_up(
    machine: Guest, results: Results
) -> None:
    machine.run("insula node down", timeout=120)
    machine.run("cd /root/insula && (./bin/up --minimal >/tmp/up.log 2>&1 &) ; sleep 3")
    machine.cut_power()
    _, seconds = bin_up(machine)
    results.add(machine.suite, "bin/up after a power cut in bin/up", seconds)
    until_served(machine, within=60)
    until_whole(machine, within=60)


def test_power_that_is_cut_in_a_distros_build_leaves_no_distro(machine: Guest) -> None:
    machine.run("(insula distro build extra --minimal >/tmp/build.log 2>&1 &) ; sleep 20")
    machine.cut_power()
    until_served(machine, within=120)
    assert "extra" not in machine.run("insula distro list").stdout.split()
    assert machine.run("grep -c mmdebstrap /proc/mounts", check=False).stdout.strip() == "0"
