"""Storage that is full, read-only, broken or lost: sites go on, nothing acknowledged is lost."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from insula.emperor.daemon import http
from insula.emperor.errors import FeedError
from insula.vassals.identity import API_UID
from tests import places
from tests.patience import BUSY
from tests.system import disk, processes
from tests.system.conftest import Node, until
from tests.system.disk import DiskNode
from tests.system.steady import Steady

pytestmark = pytest.mark.system

SITE = "stored.example.org"
# A fault lasts seconds here; a daemon that tries each second and says so each time says more.
FLOOD_LINES = 12


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskNode]:
    """A node alone on a small disk, with a site."""
    disk.make()
    done = disk.up()
    assert done.returncode == 0, done.stderr
    key = tmp_path_factory.mktemp("ssh") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    found = DiskNode(root=disk.ROOT, up=json.loads(done.stdout), key=key)
    try:
        found.insula("customer", "create", "keeper", check=False)
        uid = found.container("keeper", "keeper", "--storage", "200M")
        found.insula("domain", "add", SITE, "--customer", "keeper", check=False)
        found.site(uid, SITE)
        yield found
    finally:
        disk.remove()


@pytest.fixture(scope="module", autouse=True)
def born(node: DiskNode) -> int:
    """The revision at which the keeper was made; the faults below change it again and again."""
    return int(next(c["revision"] for c in node.json("container", "list") if c["name"] == "keeper"))


@pytest.fixture
def uid(node: DiskNode) -> int:
    return int(_uid(node, "keeper"))


@pytest.fixture
def serving(node: DiskNode) -> Iterator[DiskNode]:
    """Around a fault: the site loses no request, and afterwards all that should be is."""
    until(lambda: processes.is_whole(node), 60, "the node is whole before the test")
    with Steady(node, SITE) as visitor:
        yield node
        until(lambda: processes.is_whole(node), 90, "the node is whole after the fault")
    visitor.lost_nothing(of_at_least=10)


def log_size(node: Node) -> int:
    return (node.paths.lib / "log/emperor.log").stat().st_size


def warnings_since(node: Node, size: int) -> list[str]:
    """What the daemons complained about since the log was so long."""
    text = (node.paths.lib / "log/emperor.log").read_bytes()[size:].decode(errors="replace")
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if json.loads(line)["level"] in ("warning", "error")]


def wish(node: Node, pids: int) -> dict[str, object]:
    """Ask the API for another limit of the keeper; what it answers."""
    uid = next(c["uid"] for c in node.json("container", "list") if c["name"] == "keeper")
    answer = ask(node, "PATCH", f"/api/v1/containers/{uid}", {"pids_max": pids})
    assert isinstance(answer, dict)
    return answer


def ask(node: Node, method: str, url: str, body: object = None) -> object:
    return http.call(node.paths.api_operator / "api.sock", method, url, body, timeout=40)


def api_says(node: Node) -> str:
    """Why the API refuses; empty when it does not."""
    try:
        ask(node, "GET", "/api/v1/customers")
    except FeedError as error:
        return error.message
    return ""


# ---- the node's own disk ------------------------------------------------------------------------


def test_a_full_disk_stops_changes_and_nothing_else(serving: DiskNode, uid: int) -> None:
    node, size = serving, log_size(serving)
    with disk.full(disk.PLACE):
        # The pool is reserved on the disk, so the API can still keep what it acknowledges.
        assert wish(node, 201)["pids_max"] == 201
        words = ["container", "create", "--customer", "keeper", "--name", "late", "--wait"]
        done = node.insula(*words, "--timeout", "5", check=False)
        assert done.returncode in (1, 6), done.stderr
        assert node.ssh(uid, "echo in").stdout == "in\n"
    said = warnings_since(node, size)
    assert any("No space left" in line for line in said)
    assert len(said) <= FLOOD_LINES, said
    until(lambda: processes.is_whole(node), 60, "what was acknowledged is done once there is room")
    assert [c["pids_max"] for c in node.json("container", "list") if c["uid"] == uid] == [201]
    node.insula("container", "destroy", _uid(node, "late"), "--yes", "--wait", check=False)


def _uid(node: Node, name: str) -> str:
    return next(str(c["uid"]) for c in node.json("container", "list") if c["name"] == name)


@pytest.mark.soak
def test_without_inodes_nothing_is_lost(serving: DiskNode) -> None:
    node, size = serving, log_size(serving)
    with disk.without_inodes(disk.PLACE):
        assert wish(node, 202)["pids_max"] == 202
        done = node.insula(
            "container", "create", "--customer", "keeper", "--name", "later", "--wait",
            "--timeout", "10", check=False,
        )  # fmt: skip
        assert done.returncode in (1, 6), done.stderr
    assert len(warnings_since(node, size)) <= FLOOD_LINES
    until(lambda: processes.is_whole(node), 60, "what was acknowledged is done once there is room")
    node.insula("container", "destroy", _uid(node, "later"), "--yes")


def test_a_read_only_disk_stops_changes_and_nothing_else(serving: DiskNode) -> None:
    node, size = serving, log_size(serving)
    with disk.read_only(node.paths.etc, node.paths.lib):
        # The API's home is in the pool, which is a disk of its own.
        assert wish(node, 203)["pids_max"] == 203
        until(lambda: any("Read-only" in w for w in warnings_since(node, size)), 30, "it is said")
        time.sleep(3)
    assert len(warnings_since(node, size)) <= FLOOD_LINES


def test_a_full_run_directory_takes_no_route_away(serving: DiskNode, uid: int) -> None:
    node = serving
    with disk.full(node.paths.run):
        # An app that starts now is routed, though the gate cannot keep its table.
        node.site(uid, f"keeper.{disk.BASE_DOMAIN}", name="fresh")
        assert wish(node, 204)["pids_max"] == 204
    # Once there is room the gate keeps what it could not, though nothing new is announced.
    table = node.paths.dominator / "table.json"
    until(lambda: f"keeper.{disk.BASE_DOMAIN}" in table.read_text(), 10 * BUSY, "it is kept")
    node.ssh(uid, "rm vassals/fresh.ini")


def test_a_container_that_fills_its_own_disk_can_still_be_used(serving: DiskNode, uid: int) -> None:
    node = serving
    fill = "dd if=/dev/zero of=big bs=1M count=400 2>&1; dd if=/dev/zero of=small bs=512 2>&1; true"
    assert "Disk quota exceeded" in node.ssh(uid, fill).stdout
    # The app is started again and announces itself, though not a byte of a log can be written.
    node.ssh(uid, "touch vassals/site.ini")
    time.sleep(2)
    node.answers(SITE, 200, within=30)
    node.ssh(uid, "rm big small; echo room > again; cat again")


def test_a_full_pool_is_refused_in_words_and_nothing_acknowledged_is_lost(
    serving: DiskNode,
) -> None:
    node = serving
    with disk.full(node.paths.pool):
        stored = refused = 0
        for number in range(300, 308):
            try:
                wish(node, number)
                stored = number
            except (FeedError, AssertionError) as error:
                refused += 1
                assert "disk" in str(error), error
    print(f"full pool: stored up to {stored}, {refused} refused")
    until(lambda: api_says(node) == "", 30, "the API works again")
    uid = int(_uid(node, "keeper"))
    now = next(c["pids_max"] for c in node.json("container", "list") if c["uid"] == uid)
    assert stored == 0 or now == stored
    assert wish(node, 205)["pids_max"] == 205


# ---- the API's database -------------------------------------------------------------------------


def database(node: Node) -> Path:
    return places.home(node.paths, API_UID) / "api.sqlite3"


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _delete(path: Path) -> None:
    path.unlink()


def _garbage_first(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(4096))


def _garbage_inside(path: Path) -> None:
    """Every page but the first: whatever is asked for is damaged."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


BREAKAGES = [
    pytest.param(_delete, id="deleted"),
    pytest.param(_garbage_inside, id="garbage inside", marks=pytest.mark.soak),
    pytest.param(_truncate, id="truncated", marks=pytest.mark.soak),
    pytest.param(_empty, id="empty", marks=pytest.mark.soak),
    pytest.param(_garbage_first, id="garbage first", marks=pytest.mark.soak),
]


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_database_is_refused_and_restored(
    serving: DiskNode, born: int, breakage: Callable[[Path], None]
) -> None:
    """No empty database takes its place, and the node's own knowledge makes the copy whole."""
    node = serving
    until(lambda: _knows_the_keeper(node, born), 120, "there is a copy")
    before = node.json("customer", "list"), _shown(node)
    # Younger than the copy: only the node knows it.
    young = f"young-{breakage.__name__.strip('_').replace('_', '-')}"
    node.insula("container", "create", "--customer", "keeper", "--name", young, "--wait")
    after = _shown(node)
    size = log_size(node)
    breakage(database(node))
    for part in ("-wal", "-shm"):
        database(node).with_name(f"api.sqlite3{part}").unlink(missing_ok=True)
    kill_api(node)
    until(lambda: "restored" in api_says(node), 30, "the API says that its database is broken")
    time.sleep(2)
    assert _said_in(node, size, "restore")
    done = node.json("node", "restore", "--yes")
    assert young in {c["name"] for c in node.json("container", "list")}
    assert _shown(node) == after
    assert node.json("customer", "list") == before[0]
    assert done["new_keys"] == []
    node.insula("container", "destroy", _uid(node, young), "--yes", "--wait", check=False)


def _knows_the_keeper(node: Node, born: int) -> bool:
    """A copy has the keeper's keys, in whatever state else; its name holds its revision."""
    copies = node.json("node", "restore", "--list")
    return bool(copies) and int(copies[-1].split("-")[1]) >= born


def _said_in(node: Node, size: int, words: str) -> bool:
    said = [line for line in warnings_since(node, size) if words in line]
    assert len(said) <= FLOOD_LINES, said
    return bool(said)


def _shown(node: Node) -> list[dict[str, object]]:
    kept = ("uid", "name", "customer", "domain", "generation", "pids_max", "ssh_keys", "state")
    return [{key: item[key] for key in kept} for item in node.json("container", "list")]


def kill_api(node: Node) -> None:
    """All of the API's processes but the container's first one."""
    first = processes.first_process(node, API_UID)
    for pid in processes.processes(node, API_UID):
        if pid != first and processes.is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.soak
def test_a_database_without_any_copy_is_filled_from_the_node(serving: DiskNode) -> None:
    """The node knows all of it but tokens and e-mail addresses, also what its apps sign with."""
    node = serving
    shown, customers = _shown(node), node.json("customer", "list")
    done = _restore_from_the_node(node)
    assert _shown(node) == shown
    assert "keeper" in done["kept_keys"] and done["rebooted"] == []
    # Whoever runs nothing here has no key here.
    running = {item["customer"] for item in shown if item["state"] == "running"}
    assert not running & set(done["new_keys"])
    again = {item["name"]: item["public_key_pem"] for item in node.json("customer", "list")}
    assert {name: again[name] for name in running} == {
        item["name"]: item["public_key_pem"] for item in customers if item["name"] in running
    }


@pytest.mark.soak
def test_a_customer_whose_key_is_lost_everywhere_gets_one_and_its_containers_reboot(
    node: DiskNode, uid: int
) -> None:
    until(lambda: processes.is_whole(node), 60, "the node is whole before the test")
    for directory in (node.paths.run / "keys").iterdir():
        if directory.name != str(API_UID):
            (directory / "signing.pem").unlink(missing_ok=True)
    first = processes.first_process(node, uid)
    with Steady(node, SITE) as visitor:
        begun = time.monotonic()
        done = _restore_from_the_node(node)
        until(lambda: processes.is_whole(node), 90, "the node is whole after the restore")
        until(lambda: processes.first_process(node, uid) not in (None, first), 60, "it reboots")
        until(lambda: _is_steady(node), 120, "its app signs with the new key")
        took = time.monotonic() - begun
    assert "keeper" in done["new_keys"] and uid in done["rebooted"]
    away = [float(line.split()[1]) for line in visitor.failed]
    seconds = away[-1] - away[0] if away else 0.0
    print(f"new keys: {took:.1f} s in all, the site was away for {seconds:.1f} s")


@pytest.mark.soak
def test_a_revoked_token_is_in_no_restored_copy(serving: DiskNode) -> None:
    """The copy is older than the revocation, and has the token that it took away."""
    node = serving
    node.insula("customer", "token", "keeper", "--label", "leaked")
    (leaked,) = [
        t["id"] for t in node.json("customer", "tokens", "keeper") if t["name"] == "leaked"
    ]
    made = time.time()
    until(lambda: _newest_copy(node)[1] > made, 120, "there is a copy with the token")
    copy = _newest_copy(node)[0]
    node.insula("customer", "revoke", "keeper", str(leaked))
    done = node.json("node", "restore", copy, "--yes")
    assert done["revoked_tokens"] == 1
    assert "leaked" not in {t["name"] for t in node.json("customer", "tokens", "keeper")}


def _newest_copy(node: Node) -> tuple[str, float]:
    name = node.json("node", "restore", "--list")[-1]
    return name, (node.paths.api_backups / name).stat().st_mtime


def _restore_from_the_node(node: Node) -> dict[str, Any]:
    """Lose the database and fill a new one."""
    _delete(database(node))
    for part in ("-wal", "-shm"):
        database(node).with_name(f"api.sqlite3{part}").unlink(missing_ok=True)
    kill_api(node)
    begun = time.monotonic()
    done: dict[str, Any] = node.json("node", "restore", "new", "--yes")
    print(f"new database: restored in {time.monotonic() - begun:.1f} s")
    return done


def _is_steady(node: Node) -> bool:
    """The site answers for as long as two announcements take."""
    ends = time.monotonic() + 25
    while time.monotonic() < ends:
        if node.get(SITE).status != 200:
            return False
        time.sleep(0.2)
    return True


def test_an_older_database_is_not_followed(serving: DiskNode, uid: int) -> None:
    """The log of the last changes is lost: the node knows better, and tells it to the database."""
    node = serving
    with sqlite3.connect(database(node), timeout=20) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    node.insula("container", "set", str(uid), "--pids", "222", "--wait")
    size = log_size(node)
    kill_api(node)
    for part in ("-wal", "-shm"):
        database(node).with_name(f"api.sqlite3{part}").unlink(missing_ok=True)
    until(lambda: any("goes back" in w for w in warnings_since(node, size)), 30, "it is refused")
    node.insula("node", "restore", "current", "--yes")
    assert [c["pids_max"] for c in node.json("container", "list") if c["uid"] == uid] == [222]


def test_a_locked_database_is_waited_for(serving: DiskNode) -> None:
    node = serving
    connection = sqlite3.connect(database(node), isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        assert ask(node, "GET", "/api/v1/customers")
        subprocess_ = subprocess.Popen(
            [node.paths.venv / "bin/insula", "--root", node.root, "customer", "create", "patient"],
            stdout=subprocess.DEVNULL,
        )
        time.sleep(2)
        connection.execute("ROLLBACK")
        assert subprocess_.wait(20) == 0
    finally:
        connection.close()


# ---- the node's own files -----------------------------------------------------------------------

CONTENTS = [
    pytest.param(b"\xff\x00garbage", id="garbage"),
    pytest.param(b"", id="empty", marks=pytest.mark.soak),
    pytest.param(b'{"half": ', id="cut", marks=pytest.mark.soak),
]
CACHES = {
    "feed cache": lambda node: node.paths.lib / "feed-configurator.json",
    "routing table": lambda node: node.paths.dominator / "table.json",
    "firewall": lambda node: node.paths.run / "firewall.nft",
    "accounts": lambda node: node.paths.extrausers / "passwd",
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", CACHES)
def test_a_damaged_file_of_the_node_is_made_again(
    serving: DiskNode, uid: int, name: str, content: bytes
) -> None:
    node, path = serving, CACHES[name](serving)
    path.write_bytes(content)
    for daemon in ("insula-configurator", "insula-dominator"):
        processes.killed_comes_back(node, daemon, within=20)
    until(lambda: path.read_bytes() != content, 30, f"{path.name} is whole again")
    until(lambda: node.ssh(uid, "true", check=False).returncode == 0, 30, "ssh works")
    wish(node, 206)


def test_a_damaged_local_state_is_named_and_made_again(serving: DiskNode) -> None:
    node, size = serving, log_size(serving)
    node.paths.local_json.write_bytes(b"{")
    # The daemons read it with each feed, at the latest after 30 s.
    assert wish(node, 207)["pids_max"] == 207
    until(lambda: _said_in(node, size, "run bin/up again"), 60, "the daemons say it")
    assert disk.up().returncode == 0


@pytest.mark.soak
def test_a_lost_vassal_file_is_written_again(node: DiskNode, uid: int) -> None:
    """The Emperor stops a container whose file is gone: the one fault here that a site sees."""
    until(lambda: processes.is_whole(node), 60, "the node is whole before the test")
    (node.paths.vassals / f"{uid}.ini").unlink()
    seconds = node.answers(SITE, 503, within=30) + node.answers(SITE, 200, within=400)
    print(f"site back after its vassal file was deleted: {seconds:.1f} s")
    assert processes.first_process(node, uid)


# ---- the pool -----------------------------------------------------------------------------------


def test_a_pool_that_is_unmounted_is_mounted_again(serving: DiskNode, uid: int) -> None:
    node = serving
    subprocess.run(["umount", "--lazy", node.paths.pool], check=True)
    assert node.ssh(uid, "echo mine > kept; cat kept").stdout == "mine\n"
    processes.killed_comes_back(node, "insula-configurator", within=20)
    until(lambda: places.home(node.paths, uid).is_dir(), 30, "the pool is back")
    node.insula("container", "set", str(uid), "--storage", "210M", "--wait")


def test_a_lost_pool_is_refused_and_none_is_made_in_its_place(node: DiskNode, uid: int) -> None:
    until(lambda: processes.is_whole(node), 60, "the node is whole before the test")
    node.ssh(uid, "echo mine > kept")
    # Another node's build on this machine may hold a copy of the mount, and down says so.
    done = node.insula("node", "down", check=False)
    assert done.returncode == 0 or "still holds" in done.stderr, done.stderr
    assert not node.paths.pool.is_mount()
    aside = node.paths.pool_image.rename(disk.PLACE / "pool-aside.img")
    for damage in (lambda: None, lambda: node.paths.pool_image.write_bytes(bytes(1 << 20))):
        damage()
        done = disk.up()
        assert done.returncode != 0
        assert "pool.img" in done.stderr
        assert not node.paths.containers.exists()
    aside.rename(node.paths.pool_image)
    done = disk.up()
    assert done.returncode == 0, done.stderr
    node.answers(SITE, 200, within=60)
    assert node.ssh(uid, "cat kept").stdout == "mine\n"
