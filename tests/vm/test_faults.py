"""Clocks that jump, power that is cut, a full disk: after test_debian.py, in the same guest."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.vm.conftest import Results
from tests.vm.guest import Guest
from tests.vm.test_debian import DEMO, NETWORK, bin_up, until_served

pytestmark = pytest.mark.vm

# An app announces itself every 10 s and is believed for 35: what a jump breaks shows within these.
AFTER_JUMP_SECONDS = 45
LIB = "/var/lib/insula"
DAEMONS = ("insula-configurator", "insula-dominator", "insula-collector", "insula.emperor.sshd")
TREES = ("router", "containers")


@contextmanager
def visited(machine: Guest) -> Iterator[list[str]]:
    """A visitor inside the guest while the block runs; the list then holds what went wrong."""
    machine.run("rm -f /tmp/enough")
    failures: list[str] = []

    def visit() -> None:
        script = "/root/insula/tests/vm/guest/visitor.py"
        done = machine.run(f"python3 {script} {DEMO} /tmp/enough", check=False, timeout=900)
        failures.extend(done.stdout.splitlines())

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        time.sleep(1)
        yield failures
    finally:
        machine.run("touch /tmp/enough")
        thread.join()


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
    _, seconds = bin_up(machine, f"--network {NETWORK}")
    results.add(machine.suite, "bin/up after down", seconds)
    until_served(machine, within=60)
    until_whole(machine, within=60)


@pytest.mark.parametrize("jump", ["+1 hour", "-1 hour"])
def test_a_jump_of_the_clock_takes_no_site_away(
    machine: Guest, results: Results, jump: str
) -> None:
    with visited(machine) as failures:
        machine.run(f"date -s '{jump}'")
        time.sleep(AFTER_JUMP_SECONDS)
        # What an app says from now on is heard, too.
        machine.run("insula enter 30001 -- touch vassals/demo.ini")
        time.sleep(5)
    results.add(machine.suite, f"clock {jump}: requests lost", str(len(failures)))
    # The touched app starts anew; the jump itself may cost nothing.
    early = [line for line in failures if float(line.split()[0]) < AFTER_JUMP_SECONDS]
    assert early == []
    until_served(machine, within=30)
    machine.run("insula container set 30001 --pids 256 --wait", timeout=120)


@pytest.mark.parametrize("name", DAEMONS)
def test_a_killed_daemon_is_not_missed(machine: Guest, name: str) -> None:
    with visited(machine) as failures:
        pid = machine.run(f"pgrep -f '{LIB}/venvs/.*{name}' | head -n 1").stdout.strip()
        assert pid
        machine.run(f"kill -9 {pid}")
        time.sleep(5)
        assert machine.run(f"pgrep -f '{LIB}/venvs/.*{name}'", check=False).stdout.strip()
    assert failures == []


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
    with visited(machine) as failures:
        fill = "fallocate -l $(($(df --output=avail -B1 / | tail -n 1) - 4096)) /ballast"
        machine.run(f"{fill}; dd if=/dev/zero of=/ballast2 bs=64k 2>/dev/null", check=False)
        machine.run("insula container set 30001 --pids 257", check=False)
        time.sleep(5)
        machine.run("rm -f /ballast /ballast2")
        machine.run("insula container set 30001 --pids 258 --wait", timeout=120)
    assert failures == []
    until_whole(machine, within=60)


def test_a_deleted_database_is_refused_and_restored(machine: Guest) -> None:
    home = f"{LIB}/pool/containers/30000/home"
    with visited(machine) as failures:
        machine.run(f"rm {home}/api.sqlite3*")
        time.sleep(3)
        refused = machine.run("insula container list", check=False)
        assert refused.returncode != 0
        assert "insula node restore" in refused.stderr
        machine.run("insula node restore --yes", timeout=180)
    assert failures == []
    assert [item["uid"] for item in listed(machine)] == [30001]


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
