"""`bin/up` and the journey on a stock Debian with systemd and cgroup v2, step after step."""

import json
import re
import time
from typing import Any

import pytest

from tests.patience import BUSY
from tests.vm.conftest import Results
from tests.vm.guest import Guest, keep_builds

pytestmark = pytest.mark.vm

# The guest's own network lies in 10.0.0.0/8, and the journey's node takes 10.201.0.0/16.
NETWORK = "10.202.0.0/16"
DEMO = "demo.insula.localhost"
UNIT = "/sys/fs/cgroup/system.slice/insula.service"
# Not the system calls: a User Mode Linux has no 32 bit, the walls show the filter there.
KERNEL_TESTS = (
    "care", "cgroup", "configurator", "enter", "file_dates", "firewall", "gate", "network", "pam",
    "router", "storage", "terminals",
)  # fmt: skip
SSH_WORDS = (
    "-i /etc/insula/demo/id_ed25519 -p 2222 -o BatchMode=yes -o StrictHostKeyChecking=no"
    " -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
)


def status_of(machine: Guest, scheme: str = "http", *, host: str = DEMO) -> str:
    names = f"--resolve {host}:80:127.0.0.1 --resolve {host}:443:127.0.0.1"
    ask = f"curl -sk -o /dev/null -w '%{{http_code}}' -m 3 {names} {scheme}://{host}/"
    return machine.run(ask, check=False).stdout.strip()


def until_served(machine: Guest, *, within: float, host: str = DEMO) -> float:
    start = time.monotonic()
    while status_of(machine, host=host) != "200":
        assert time.monotonic() - start < within, f"{host} does not answer"
        time.sleep(0.1)
    return time.monotonic() - start


def bin_up(machine: Guest, options: str = "", *, timeout: float = 600) -> tuple[Any, float]:
    start = time.monotonic()
    done = machine.run(f"cd /root/insula && ./bin/up --json --minimal {options}", timeout=timeout)
    return json.loads(done.stdout), time.monotonic() - start


def take_a_small_pool(machine: Guest) -> None:
    """Small enough to be reserved on the guest's disk, as it is on a machine with a large one."""
    toml = "/etc/insula/node.toml"
    machine.run(
        f"[ -e {toml} ] || {{ mkdir -p /etc/insula && echo 'pool_bytes = 2684354560' > {toml}; }}"
    )


def pids_of_the_node(machine: Guest) -> list[str]:
    command = f"find {UNIT} -name cgroup.procs -exec cat {{}} +"
    return machine.run(command, check=False).stdout.split()


def test_bin_up_brings_a_node_up(machine: Guest, results: Results) -> None:
    take_a_small_pool(machine)
    facts, seconds = bin_up(machine, f"--network {NETWORK}")
    results.add(machine.suite, "bin/up, the first", seconds)
    keep_builds(machine)
    assert facts["demo"]["domain"] == DEMO
    assert status_of(machine) == "200"
    assert status_of(machine, "https") == "200"


def test_a_clash_of_networks_is_named_and_nothing_is_started(machine: Guest) -> None:
    options = "--root /tmp/second --http-port 81 --https-port 444 --ssh-port 2223"
    done = machine.run(f"cd /root/insula && ./bin/up --minimal {options}", check=False, timeout=300)
    assert done.returncode == 5
    assert "give --network" in done.stderr
    assert "/tmp/second" not in machine.run("cat /proc/mounts").stdout
    assert machine.run("ls /etc/systemd/system/insula*").stdout.split() == [
        "/etc/systemd/system/insula.service"
    ]
    machine.run("rm -rf /tmp/second")


def test_the_second_run_changes_nothing(machine: Guest, results: Results) -> None:
    before = pids_of_the_node(machine)
    facts, seconds = bin_up(machine)
    results.add(machine.suite, "bin/up, the second", seconds)
    assert facts["changed"] == []
    assert seconds < 5 * BUSY
    # The API's workers and sessions come and go; nothing else may.
    assert len(set(before) - set(pids_of_the_node(machine))) <= 1


def test_the_unit_is_told_that_the_emperor_is_ready(machine: Guest) -> None:
    shown = machine.run("systemctl show insula -p Type,ActiveState,StatusText,Delegate").stdout
    facts = dict(line.split("=", 1) for line in shown.splitlines())
    assert (facts["Type"], facts["ActiveState"], facts["Delegate"]) == ("notify", "active", "yes")
    assert "Emperor is governing" in facts["StatusText"]


def test_a_container_has_a_group_of_its_own_with_its_limits(machine: Guest) -> None:
    group = f"{UNIT}/insula/1/30001"
    for _ in range(2):
        limits = machine.run(f"cd {group} && cat memory.max cpu.max pids.max").stdout.split()
        assert limits == ["536870912", "50000", "100000", "512"]
        # systemd looks its own tree over and must leave what it delegated alone.
        machine.run("systemctl daemon-reload && systemctl daemon-reexec")
    assert machine.run(f"cat {group}/cgroup.procs").stdout.split()


def test_a_container_that_takes_too_much_memory_loses_that_process_alone(machine: Guest) -> None:
    done = machine.run("insula enter 30001 -- python3 -c 'bytearray(700 << 20)'", check=False)
    assert done.returncode == 137
    assert "oom_kill 1\n" in machine.run(f"cat {UNIT}/insula/1/30001/memory.events").stdout
    until_served(machine, within=10)


def test_the_doctor_finds_nothing_that_fails(machine: Guest) -> None:
    found = json.loads(machine.run("insula node doctor --json").stdout)
    assert [item for item in found if item["state"] == "fail"] == []
    assert {"name": "cgroups", "state": "ok", "detail": "version 2", "remedy": ""} in found


def test_every_wall_holds(machine: Guest, results: Results) -> None:
    """What an operator runs after a kernel upgrade: attacks from inside two containers."""
    done = machine.run("insula node doctor --isolation --json", check=False, timeout=900)
    assert done.stdout.startswith("{"), done.stderr
    found = json.loads(done.stdout)
    broken = [
        f"{item['name']} ({item['from']}): {item['reason']}"
        for item in found["results"]
        if not item["passed"]
    ]
    assert broken == []
    assert found["passed"] and found["threats"] >= 60
    told = f"{found['probes']} probes, {found['seconds']} s"
    results.add(machine.suite, "doctor --isolation", told)


def test_the_machines_own_sshd_and_sessions_are_untouched(machine: Guest) -> None:
    assert machine.run("systemctl is-active ssh.service").stdout.strip() == "active"
    key = "/etc/insula/demo/id_ed25519"
    words = f"-i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
    assert machine.run(f"ssh {words} -p 22 30001@127.0.0.1 true", check=False).returncode == 255
    inside = machine.run(f"ssh {words} -p 2222 30001@127.0.0.1 'cat /proc/self/cgroup'").stdout
    assert inside == "0::/\n"
    # No session of logind: it would take the shell out of the container's cgroup.
    assert "30001" not in machine.run("loginctl list-sessions").stdout


def test_a_killed_emperor_is_back_with_every_site(machine: Guest, results: Results) -> None:
    machine.run("kill -9 $(cat /run/insula/emperor.pid)")
    time.sleep(1)
    seconds = until_served(machine, within=60) + 1
    results.add(machine.suite, "site back after the Emperor's kill -9", seconds)
    procs = machine.run(f"cat {UNIT}/insula/1/30001/cgroup.procs").stdout.split()
    names = machine.run(f"cat {' '.join(f'/proc/{pid}/cmdline' for pid in procs)}").stdout
    assert names.count("[30001]") == 1


def test_the_unit_restarts(machine: Guest, results: Results) -> None:
    start = time.monotonic()
    machine.run("systemctl restart insula")
    until_served(machine, within=60)
    results.add(machine.suite, "systemctl restart to site", time.monotonic() - start)


def test_the_kernel_tests_pass_on_cgroup_v2(machine: Guest, results: Results) -> None:
    files = " ".join(f"tests/kernel/test_{name}.py" for name in KERNEL_TESTS)
    results.add(machine.suite, "kernel tests", _pytest(machine, files))


def test_the_journey_and_the_walls(machine: Guest, results: Results) -> None:
    """From nothing to a customer's app and what it cannot do, on a second node beside the first."""
    files = "tests/system/test_journey.py tests/system/test_walls.py"
    results.add(machine.suite, "journey and walls", _pytest(machine, files))


def _pytest(machine: Guest, files: str) -> str:
    machine.run(
        "cd /root && [ -e venv/complete ] || { python3 -m venv venv"
        " && venv/bin/pip install -q pytest && venv/bin/pip install -q -e 'insula[node]'"
        " && apt-get install -y -qq --no-install-recommends make rsync >/dev/null"
        # customers of the gate's tests run this Python, too
        " && make -s -C insula/pam && chmod 711 /root && touch venv/complete; }",
        timeout=300,
    )
    done = machine.run(
        "cd /root/insula && INSULA_TEST_UP=--minimal"
        " /root/venv/bin/pytest -c tests/vm/guest/tests.ini --rootdir ."
        f" -q --tb=short {files}",
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r"\d+ passed.*", done.stdout)
    assert found is not None
    return found[0].strip("= ")


def test_a_reboot_brings_everything_back(machine: Guest, results: Results) -> None:
    assert machine.run("systemctl is-enabled insula").stdout.strip() == "enabled"
    seconds = machine.reboot() + until_served(machine, within=90)
    results.add(machine.suite, "reboot to site", seconds)


def test_down_leaves_nothing(machine: Guest, results: Results) -> None:
    start = time.monotonic()
    machine.run("insula node down")
    results.add(machine.suite, "insula node down", time.monotonic() - start)
    assert machine.run("systemctl is-active insula", check=False).stdout.strip() == "inactive"
    assert pids_of_the_node(machine) == []
    for command in (
        "grep insula /proc/mounts", "losetup --all", "nft list tables | grep insula",
        "find /sys/fs/cgroup -name '*insula*'", "ls -d /sys/class/net/ins*",
        "ls -A /run/insula", "pgrep -fa '[u]wsgi|/var/lib/[i]nsula'",
    ):  # fmt: skip
        assert machine.run(command, check=False).stdout == "", command
