"""A node and its containers from morning to evening: changed, rebooted, destroyed, down and up."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from insula.emperor.kernel import cgroup
from insula.vassals import identity
from tests import places
from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import (
    CHECKOUT,
    HTTP_PORT,
    ROOT,
    SSH_PORT,
    UP_OPTIONS,
    Node,
    bin_up,
    leftovers,
    until,
)

pytestmark = pytest.mark.system

SITE = "house.example.net"
SECOND = Path(f"{ROOT}-second")
MIB = 1 << 20


@pytest.fixture(scope="module")
def house(node: Node) -> int:
    """A container with a site."""
    node.insula("customer", "create", "owner")
    uid = node.container("owner", "house")
    node.insula("domain", "add", SITE, "--customer", "owner")
    node.site(uid, SITE)
    return uid


@pytest.fixture(scope="module")
def neighbour(node: Node) -> int:
    node.insula("customer", "create", "neighbour")
    return node.container("neighbour", "neighbour")


def _node_pids(node: Node, uid: int) -> set[int]:
    """Every lasting process of the node, its containers' first ones included."""
    services = [processes.tree(name, node) for name in ("daemons", "router", "containers", "pages")]
    daemons = [pid for tree in services[:2] for pid in processes.children(tree)]
    firsts = [processes.first_process(node, item) for item in (identity.API_UID, uid)]
    return {processes.emperor(node), *services, *daemons} | {pid for pid in firsts if pid}


def _take_over_what_was_edited(node: Node) -> None:
    """A file that somebody changed since the first bin/up makes the next one an upgrade."""
    environment = None
    while environment != node.paths.venv.readlink():
        environment = node.paths.venv.readlink()
        assert bin_up(*UP_OPTIONS).returncode == 0


def test_a_second_up_changes_and_restarts_nothing(node: Node, house: int) -> None:
    _take_over_what_was_edited(node)
    before = _node_pids(node, house)
    started = time.monotonic()
    done = bin_up(*UP_OPTIONS)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] == []
    assert _node_pids(node, house) == before
    print(f"second bin/up: {seconds:.2f} s")
    assert seconds <= 3 * BUSY


def test_the_doctor_finds_nothing(node: Node) -> None:
    assert node.insula("node", "doctor").returncode == 0


def test_limits_change_while_the_container_runs(node: Node, house: int) -> None:
    first = processes.first_process(node, house)
    words = ["--memory", "300M", "--cpu", "70%", "--pids", "90"]
    node.insula("container", "set", str(house), *words, "--wait")
    groups = cgroup.detect(processes.settings_of(node).cgroup_name)
    found = groups.limits(processes.customer_of(node, house), house)
    assert found == cgroup.Limits(memory_bytes=300 * MIB, cpu_percent=70, pids_max=90)
    assert processes.first_process(node, house) == first


def test_the_disk_limit_changes_while_the_container_runs(node: Node, house: int) -> None:
    first = processes.first_process(node, house)
    write = "dd if=/dev/zero of=big bs=1M count=250 conv=fsync"
    node.insula("container", "set", str(house), "--storage", "200M", "--wait")
    full = node.ssh(house, write, check=False)
    assert "Disk quota exceeded" in full.stderr
    node.ssh(house, "rm big; sync")
    node.insula("container", "set", str(house), "--storage", "1G", "--wait")
    until(lambda: node.ssh(house, write, check=False).returncode == 0, 20, "there is room again")
    node.ssh(house, "rm big")
    assert processes.first_process(node, house) == first


def test_a_reboot_keeps_the_home(node: Node, house: int) -> None:
    first = processes.first_process(node, house)
    node.ssh(house, "echo mine > kept")
    node.insula("container", "reboot", str(house), "--wait")
    assert processes.first_process(node, house) not in (None, first)
    until(lambda: node.ssh(house, "cat kept", check=False).stdout == "mine\n", 10, "ssh works")
    node.answers(SITE, 200, within=30)


def _connects(node: Node, uid: int, address: str, port: int) -> bool:
    text = f"import socket; socket.create_connection(({address!r}, {port}), timeout=2)"
    return node.ssh(uid, f"python3 -c '{_quoted(text)}'", check=False).returncode == 0


def _quoted(text: str) -> str:
    return text.replace("'", '"')


@contextmanager
def _listener(node: Node, uid: int, port: int) -> Iterator[None]:
    """Something that listens inside, as long as the session lasts."""
    words = [*node.ssh_words(), "-tt", f"{uid}@127.0.0.1", f"exec python3 -m http.server {port}"]
    session = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        session.kill()
        session.wait()
        assert session.stdin is not None
        session.stdin.close()


def test_containers_do_not_reach_one_another(node: Node, house: int, neighbour: int) -> None:
    network = processes.settings_of(node).settings.ip_network
    with _listener(node, neighbour, 8000):
        own = str(identity.address_of(neighbour, network))
        until(lambda: _connects(node, neighbour, own, 8000), 15, "it listens on its own address")
        assert not _connects(node, house, own, 8000)


@pytest.mark.parametrize("port", [SSH_PORT, HTTP_PORT, 22])
def test_a_container_does_not_reach_the_host(node: Node, house: int, port: int) -> None:
    gateway = str(processes.settings_of(node).settings.gateway)
    assert not _connects(node, house, gateway, port)
    assert not _connects(node, house, "127.0.0.1", port)


def test_a_container_sees_its_own_processes_alone(node: Node, house: int) -> None:
    seen = node.ssh(house, "stat -c %u /proc/[0-9]*").stdout.split()
    assert set(seen) == {str(house)}
    assert node.ssh(house, "ls -d /proc/1", check=False).returncode != 0
    assert len(seen) < 15


def test_nobody_logs_in_with_another_customers_key(node: Node) -> None:
    assert node.ssh(int(node.up["demo"]["uid"]), "true", check=False).returncode == 255


def test_no_process_inside_has_or_gains_a_right(node: Node, house: int) -> None:
    with _listener(node, house, 8001):
        until(lambda: _knows(node, house, "http.server"), 15, "the shell's command runs")
        for pid in processes.processes(node, house):
            if not processes.command(pid).startswith("sshd"):
                assert processes.status_line(pid, "Uid:").split() == [str(house)] * 4
                assert int(processes.status_line(pid, "CapBnd:"), 16) == 0
                assert int(processes.status_line(pid, "CapEff:"), 16) == 0
                assert processes.status_line(pid, "NoNewPrivs:") == "1"


def _knows(node: Node, uid: int, word: str) -> bool:
    return any(word in processes.command(pid) for pid in processes.processes(node, uid))


def test_the_devices_are_few(node: Node, house: int) -> None:
    found = node.ssh(house, "find /dev -type b -o -type c ! -path '/dev/pts/*'").stdout.split()
    names = {"null", "zero", "full", "random", "urandom", "tty"}
    assert set(found) == {f"/dev/{name}" for name in names}


def test_a_customer_writes_at_home_and_in_temporary_places_alone(node: Node, house: int) -> None:
    own = [f"/containers/{house}", "/usr/local", "/tmp", "/var/tmp", "/proc", "/dev/shm"]
    own += ["/dev/pts", "/run/sockets", "/run/lock", "/run/user"]
    skipped = " -o ".join(f"-path {path}" for path in own)
    command = f"find / \\( {skipped} \\) -prune -o -writable ! -type l ! -type c -print 2>&-"
    found = node.ssh(house, command, check=False).stdout.split()
    assert found == ["/run/subscribe/http"]


def test_a_destroyed_container_leaves_its_home_aside_and_frees_its_names(node: Node) -> None:
    node.insula("customer", "create", "leaver")
    uid = node.container("leaver", "leaver")
    domain = "leaver.insula.test"
    node.site(uid, domain)
    node.ssh(uid, "echo precious > file")
    node.insula("container", "destroy", str(uid), "--yes")
    node.answers(domain, 421, within=15)
    aside = node.paths.removed
    until(lambda: any(aside.glob(f"{uid}-*")), 20, "the home is set aside")
    files = list(aside.glob(f"{uid}-*/home/file"))
    assert [path.read_text() for path in files] == ["precious\n"]
    assert not places.home(node.paths, uid).exists()
    assert not node.paths.cgroups(uid).exists()
    assert node.ssh(uid, "true", check=False).returncode == 255
    again = node.container("leaver", "leaver")
    assert again > uid
    node.answers(domain, 503, within=15)
    assert node.ssh(again, "ls file", check=False).returncode != 0


def test_a_wrong_option_makes_nothing() -> None:
    for words in (["--colour"], ["--http-port"], ["--http-port", "8;0"]):
        done = bin_up(*words, root=SECOND)
        assert done.returncode == 2
        assert "bin/up --help" in done.stderr
    assert not SECOND.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--http-port", "0"], "--http-port"),
        (["--network", "10.0.0.0/30"], "/24 or larger"),
        (["--base-domain", "-x-"], "base_domain"),
        (["--http-port", "7001", "--https-port", "7001"], "three different ports"),
    ],
    ids=["port", "network", "domain", "same ports"],
)
def test_a_wrong_setting_is_named_and_makes_nothing(
    node: Node, words: list[str], said: str
) -> None:
    program = node.paths.venv / "bin/insula"
    done = subprocess.run(
        [program, "--root", SECOND, "node", "up", *words], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert not SECOND.exists()


def test_a_busy_port_is_named_with_its_remedy_and_makes_nothing(node: Node) -> None:
    program = node.paths.venv / "bin/insula"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        words = ["--http-port", port, "--https-port", "28443", "--ssh-port", "22222"]
        done = subprocess.run(
            [program, "--root", SECOND, "node", "up", *words, "--network", "10.203.0.0/16"],
            capture_output=True,
            text=True,
        )
    assert done.returncode != 0
    assert f"port {port}" in done.stderr
    assert "give --http-port" in done.stderr
    assert not SECOND.exists()


def _killed_half_way(seconds: float, scratch: Path) -> None:
    """Start bin/up, and kill -9 all of it after a while."""
    running = subprocess.Popen(
        [CHECKOUT / "bin/up", "--root", ROOT, *UP_OPTIONS],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def test_down_leaves_nothing_and_up_brings_everything_back(
    node: Node, house: int, tmp_path: Path
) -> None:
    assert bin_up("--down").returncode == 0
    assert leftovers() == []
    # Down twice is once, and a start that is killed anywhere is finished by the next one.
    assert bin_up("--down").returncode == 0
    for seconds in (0.6, 1.2, 2.0):
        _killed_half_way(seconds, tmp_path)
    done = bin_up(*UP_OPTIONS)
    assert done.returncode == 0, done.stderr
    node.answers(SITE, 200, within=30)
    node.answers("demo.insula.test", 200, within=30)
    assert node.ssh(house, "cat kept").stdout == "mine\n"
    assert processes.first_process(node, house) is not None
    assert node.insula("node", "doctor").returncode == 0
