"""What is written for a customer never opens its path as root; nor does a container's end."""

import json
import os
import shlex
from pathlib import Path

import pytest

from tests import places
from tests.system import processes
from tests.system.conftest import Node, until

pytestmark = pytest.mark.system

SECRET = "a file of the machine's own"


@pytest.fixture(scope="module")
def uid(node: Node) -> int:
    return node.container("demo", "logged")


def booted_again(node: Node, uid: int) -> None:
    """Reboot and wait until a new first process lets us in."""
    before = processes.first_process(node, uid)
    node.insula("container", "reboot", str(uid), "--wait")
    until(lambda: processes.first_process(node, uid) not in (0, before), 20, "it boots again")
    until(lambda: node.ssh(uid, "true", check=False).returncode == 0, 20, "it lets us in")


def test_what_is_written_to_a_log_is_written_as_its_customer(node: Node, uid: int) -> None:
    """A link in the log's place leads where its customer may write, made with its rights alone."""
    home = places.home(node.paths, uid)
    assert (home / "logs/emperor.log").lstat().st_uid == uid
    node.ssh(uid, "rm logs/emperor.log && ln -s ../elsewhere logs/emperor.log")
    booted_again(node, uid)
    assert node.ssh(uid, "stat -c %u elsewhere && test -s elsewhere").stdout == f"{uid}\n"
    node.ssh(uid, "rm logs/emperor.log elsewhere")
    booted_again(node, uid)


@pytest.mark.parametrize(
    "spoil",
    [
        "rm -rf logs vassals",
        "rm -rf logs vassals && mkdir -p logs/emperor.log && touch vassals",
        "chmod 0 vassals . || chmod 0 .",
    ],
    ids=["deleted", "another thing", "closed"],
)
def test_a_spoilt_home_keeps_no_container_from_its_boot(node: Node, uid: int, spoil: str) -> None:
    """Without a boot there is no login, and an operator would have to walk the home as root."""
    node.ssh(uid, spoil)
    booted_again(node, uid)
    mend = (
        "cd && rm -rf logs/emperor.log && { [ -d vassals ] || { rm vassals && mkdir vassals; }; }"
    )
    node.ssh(uid, f"{mend} && test -x . -a -d logs")
    booted_again(node, uid)
    assert node.ssh(uid, "stat -c '%u %F' logs/emperor.log").stdout.split()[0] == str(uid)


def test_a_container_holds_no_file_of_the_nodes(node: Node, uid: int) -> None:
    """Its first process has begun as root, with the node's log; nothing of that is left open."""
    node.site(uid, "logged.insula.test", name="logged")
    pids = processes.processes(node, uid)
    assert len(pids) >= 3
    held = {
        f"{pid} {os.readlink(descriptor)}"
        for pid in pids
        for descriptor in Path(f"/proc/{pid}/fd").iterdir()
    }
    assert [item for item in held if f" {node.root}" in item] == []
    assert [item for item in held if item.endswith("/logs/emperor.log")]


def test_links_out_of_a_home_lead_root_nowhere(node: Node, tmp_path: Path) -> None:
    """Through a container's whole life: made, resized, rebooted, read, destroyed, purged."""
    uid = node.container("demo", "linked")
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "emperor.log").write_text(SECRET)
    before = [(path, path.lstat()[:6]) for path in (canary, canary / "emperor.log")]
    # The path of the machine: root would find the canary there, the customer finds nothing.
    links = f"rm -rf .ssh logs && mkdir logs && ln -s {canary} .ssh && ln -s {canary} vassals/x.ini"
    node.ssh(uid, f"{links} && ln -s {canary}/emperor.log logs/emperor.log")
    shown = node.insula("logs", str(uid), check=False)
    assert SECRET not in shown.stdout + shown.stderr
    node.ssh(uid, "rm logs/emperor.log && mkfifo logs/pipe && ln -s / root && ln -s ~ ~/loop")
    node.insula("container", "set", str(uid), "--storage", "2G", "--wait")
    node.insula("container", "destroy", str(uid), "--yes")
    until(lambda: _aside(node, uid) != [], 30, "its home is set aside")
    node.insula("node", "removed", "--purge", *_aside(node, uid))
    assert _aside(node, uid) == []
    assert [(path, path.lstat()[:6]) for path in (canary, canary / "emperor.log")] == before


def test_nobody_inside_can_let_root_wait_for_a_file(node: Node, uid: int) -> None:
    """A lease on the signing key once stopped the configurator for 45 s at each look."""
    lease = "import fcntl; fcntl.fcntl(open('{}'), fcntl.F_SETLEASE, fcntl.F_WRLCK)"
    node.ssh(uid, "touch own")
    for path in ("/run/keys/signing.pem", "own"):
        done = node.ssh(uid, f"python3 -c {shlex.quote(lease.format(path))}", check=False)
        assert "Operation not permitted" in done.stderr
    found = (node.paths.keys(uid) / "signing.pem").lstat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, uid, 0o440)
    assert node.ssh(uid, "head -c 10 /run/keys/signing.pem").stdout == "-----BEGIN"


def _aside(node: Node, uid: int) -> list[str]:
    found = json.loads(node.insula("--json", "node", "removed").stdout)
    return [item["name"] for item in found if item["uid"] == uid]
