"""The gate as a process: who is heard, who is refused, and what outlives it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest

from insula.dominator.table import Route
from insula.emperor.settings import COLLECTOR_UID, DOMINATOR_UID, NODE_GID, ROUTER_UID
from tests import places
from tests.kernel.announcing import KEYS, private_pem, public_pem, send_as, signed
from tests.kernel.asking import announce, ask, everywhere
from tests.kernel.routed_node import ROOT, RoutedNode, eventually, routed_node
from tests.patience import BUSY

pytestmark = pytest.mark.kernel

DOMAINS = {"shop.test.org": 1, "second.test.org": 1, "b.test.org": 2}
OWN = "/run/sockets/b.sock"
_FLOOD = """
import os, random, socket, sys, time
os.setgroups([]); os.setgid(30002); os.setuid(30002)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.setblocking(False)
chosen = random.Random(7)
for number in range(10000):
    data = chosen.randbytes(chosen.choice([1, 4, 200, 4096, 5000]))
    if number % 2:
        data = b"\\xe0" + (len(data) & 0xFFFF).to_bytes(2, "little") + b"\\x00" + data
    try:
        sender.sendto(data, sys.argv[1])
    except OSError:
        time.sleep(0.0003)
"""


@pytest.fixture(scope="module")
def routed() -> Iterator[RoutedNode]:
    """shop.test.org is announced by customer 1; customer 2 has an app and announces nothing."""
    with routed_node() as routed:
        routed.feed.set(DOMAINS)
        routed.app("shop", 30001)
        routed.app("b", 30002)
        eventually(lambda: ask(routed, "b.test.org").status == 503, about="the state")
        announce(routed, "shop.test.org", "shop", 30001)
        everywhere(routed, "shop.test.org", "shop")
        yield routed


@pytest.fixture
def as_before(routed: RoutedNode) -> Iterator[RoutedNode]:
    """Gives the domains back to their owners and announces the shop again."""
    yield routed
    routed.feed.set(DOMAINS)

    def shop_is_back() -> bool:
        announce(routed, "shop.test.org", "shop", 30001)
        return ask(routed, "shop.test.org").app == "shop"

    eventually(shop_is_back)


def _refusals(routed: RoutedNode) -> set[tuple[int, str]]:
    found = set()
    for line in routed.log("gate").splitlines():
        with_fields = json.loads(line) if line.startswith("{") else {}
        if with_fields.get("event") == "refused":
            found.add((int(with_fields["uid"]), str(with_fields["code"])))
    return found


def _say(routed: RoutedNode, data: bytes, *, uid: int = 30002, sender: int | None = None) -> None:
    send_as(uid if sender is None else sender, data, routed.paths.subscribe(uid) / "http")


def test_the_gate_has_no_rights_and_can_gain_none(routed: RoutedNode) -> None:
    pid = int((ROOT / "gate.pid").read_text())
    text = routed.run("cat", f"/proc/{pid}/status")
    status = {line.split(":")[0]: line.split(":", 1)[1].split() for line in text.splitlines()}
    assert status["Uid"] == [str(DOMINATOR_UID)] * 4 and status["Gid"] == [str(NODE_GID)] * 4
    assert status["Groups"] == [str(ROUTER_UID)]
    assert {status[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0" * 16
    }
    assert status["NoNewPrivs"] == ["1"]


def test_nobody_but_the_gate_may_speak_to_the_router(routed: RoutedNode) -> None:
    for uid in (30001, DOMINATOR_UID + 5):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            send_as(uid, b"x", routed.paths.router / "subscribe.sock")
        assert b"PermissionError" in refused.value.stderr


def test_each_forged_announcement_is_refused_with_its_reason(routed: RoutedNode) -> None:
    now = int(time.time())
    foreign = "/run/sockets/../../30001/sockets/shop.sock"
    twice = signed("b.test.org", OWN, customer=2)
    cases = [
        ("malformed", twice[:-3]),
        ("invalid-domain", signed("mapped/b.test.org", OWN, customer=2)),
        ("unattached-domain", signed("nobody.test.org", OWN, customer=2)),
        ("foreign-domain", signed("shop.test.org", OWN, customer=2)),
        ("bad-signature", signed("b.test.org", OWN, customer=3)),
        ("stale", signed("b.test.org", OWN, customer=2, unix=now - 60)),
        ("future", signed("b.test.org", OWN, customer=2, unix=now + 60)),
        ("foreign-address", signed("b.test.org", foreign, customer=2)),
        ("foreign-address", signed("b.test.org", "127.0.0.1:80", customer=2)),
        ("foreign-address", signed("b.test.org", "10.214.0.3:80", customer=2)),
    ]
    for code, data in cases:
        _say(routed, data)
        eventually(lambda code=code: (30002, code) in _refusals(routed), about=code)  # type: ignore[misc]
    plain = signed("b.test.org", OWN, customer=2)
    body = plain[4 : -8 - KEYS[2].key_size // 8]  # without the sign key
    _say(routed, b"\xe0" + len(body).to_bytes(2, "little") + b"\x00" + body)
    eventually(lambda: (30002, "unsigned") in _refusals(routed), about="unsigned")
    _say(routed, signed("b.test.org", OWN, customer=2), sender=30001)
    eventually(lambda: (30002, "wrong-credentials") in _refusals(routed), about="credentials")
    _say(routed, signed("b.test.org", OWN, customer=3), uid=30003)
    eventually(lambda: (30003, "unknown-container") in _refusals(routed), about="unknown")
    assert {ask(routed, "b.test.org").status for _ in range(8)} == {503}
    assert {ask(routed, "shop.test.org").app for _ in range(8)} == {"shop"}


def test_a_packet_seen_twice_is_refused_and_a_leave_works_once(routed: RoutedNode) -> None:
    hello = signed("b.test.org", OWN, customer=2)
    leave = signed("b.test.org", OWN, customer=2, leave=True)
    _say(routed, hello)
    everywhere(routed, "b.test.org", "b")
    _say(routed, leave)
    everywhere(routed, "b.test.org", "")
    _say(routed, hello)
    eventually(lambda: (30002, "replayed") in _refusals(routed), about="replayed")
    assert ask(routed, "b.test.org").status == 503


def test_a_refused_app_is_told_why(routed: RoutedNode) -> None:
    path = places.sockets(routed.paths, 30002) / "told"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        try:
            path.chmod(0o666)
            ear.settimeout(5)
            wrong = signed("shop.test.org", OWN, customer=2, notify="/run/sockets/told")
            _say(routed, wrong)
            assert ear.recv(4096).startswith(b"[insula] refused, foreign-domain: ")
        finally:
            path.unlink()


def test_an_address_that_became_a_link_is_not_followed(routed: RoutedNode) -> None:
    """The gate sees a socket of the container, then its owner swaps it for the neighbour's."""
    own = places.sockets(routed.paths, 30002) / "swap.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(own))
        os.chown(own, 30002, ROUTER_UID)
        announce(routed, "b.test.org", "swap", 30002)
        eventually(lambda: '"domain": "b.test.org"' in routed.log("gate"))
        own.unlink()
    own.symlink_to("../../30001/sockets/shop.sock")
    try:
        assert {ask(routed, "b.test.org").app for _ in range(8)} == {""}
        announce(routed, "b.test.org", "swap", 30002, leave=True)
    finally:
        own.unlink()


def test_a_stock_app_is_accepted_and_withdrawn_at_its_end(routed: RoutedNode) -> None:
    binary = next(path for path in ("/usr/bin/uwsgi", routed.uwsgi) if Path(path).exists())
    key = ROOT / "signing.pem"
    key.write_bytes(private_pem(2))
    os.chown(key, 30002, 30002)
    key.chmod(0o400)
    sockets, subscribe = places.sockets(routed.paths, 30002), routed.paths.subscribe(30002)
    script = f"""mount -t tmpfs tmpfs /run && cd /run && mkdir sockets subscribe keys &&
        mount --bind {sockets} sockets && mount --bind {subscribe} subscribe &&
        touch keys/signing.pem && mount --bind {key} keys/signing.pem &&
        exec setpriv --reuid=30002 --regid=30002 --clear-groups --no-new-privs {binary} \
        --master --die-on-term --vacuum --socket=/run/sockets/stock.sock --chmod-socket=666 \
        --subscribe2 server=/run/subscribe/http,key=b.test.org,addr=/run/sockets/stock.sock,\
sign=SHA256:/run/keys/signing.pem --route-run 'addheader:X-Who: app=stock end' \
        --route-run 'break:200 OK'"""
    pid = routed.start("stock", "unshare", "--mount", "sh", "-c", script)
    everywhere(routed, "b.test.org", "stock", seconds=10.0)
    routed.kill(pid, signal.SIGTERM)
    everywhere(routed, "b.test.org", "", seconds=8.0)
    assert '"why": "left"' in routed.log("gate").splitlines()[-1]


def test_ten_thousand_garbage_datagrams_cost_the_neighbour_no_request(routed: RoutedNode) -> None:
    target = routed.paths.subscribe(30002) / "http"
    flood = subprocess.Popen(routed.inside(sys.executable, "-I", "-S", "-c", _FLOOD, target))
    good = asked = 0
    try:
        while flood.poll() is None or asked < 100:
            good += ask(routed, "shop.test.org").app == "shop"
            asked += 1
            if asked == 50:
                announce(routed, "second.test.org", "shop", 30001)
        everywhere(routed, "second.test.org", "shop")
    finally:
        flood.kill()
        flood.wait()
    assert good == asked
    assert (30002, "too-many") in _refusals(routed)
    announce(routed, "second.test.org", "shop", 30001, leave=True)


def test_a_killed_gate_takes_no_site_with_it_and_the_next_one_replays(routed: RoutedNode) -> None:
    routed.kill(int((ROOT / "gate.pid").read_text()))
    assert {ask(routed, "shop.test.org").app for _ in range(20)} == {"shop"}
    routed.kill(routed.router_children()[0])
    started = time.monotonic()
    routed.start_gate()
    everywhere(routed, "shop.test.org", "shop", seconds=5.0)
    print(f"gate started and table replayed after {time.monotonic() - started:.2f} s")


@pytest.mark.parametrize("change", ["detached", "moved", "new key"])
def test_a_domain_that_is_no_longer_allowed_ends_at_once(
    as_before: RoutedNode, change: str
) -> None:
    routed = as_before
    others = {name: owner for name, owner in DOMAINS.items() if name != "shop.test.org"}
    status = 421 if change == "detached" else 503
    if change == "detached":
        routed.feed.set(others, detached={"shop.test.org": 1})
    elif change == "moved":
        routed.feed.set(others | {"shop.test.org": 2})
    else:
        routed.feed.set(DOMAINS, keys={1: 3})
    eventually(
        lambda: {ask(routed, "shop.test.org").status for _ in range(8)} == {status},
        seconds=2.0 * BUSY, about=change,
    )  # fmt: skip


def test_withdrawals_reach_a_router_that_was_busy(as_before: RoutedNode) -> None:
    routed = as_before
    many = {f"n{number}.many.org": 1 for number in range(40)}
    routed.feed.set(DOMAINS | many)
    eventually(lambda: ask(routed, "n39.many.org").status == 503)
    processes = routed.router_children()
    for pid in processes:
        routed.kill(pid, signal.SIGSTOP)
    try:
        routed.feed.set(DOMAINS, detached=many)
        time.sleep(1.5)  # the gate meets a full queue
    finally:
        for pid in processes:
            routed.kill(pid, signal.SIGCONT)
    for name in many:
        everywhere(routed, name, "", seconds=6.0)
        eventually(lambda name=name: ask(routed, name).status == 421)  # type: ignore[misc]


@contextmanager
def _stopped_gate(routed: RoutedNode) -> Iterator[Path]:
    """The table's file while no gate runs; afterwards one runs again."""
    routed.kill(int((ROOT / "gate.pid").read_text()))
    yield routed.paths.dominator / "table.json"
    (ROOT / "gate.log").unlink()
    routed.start_gate()


def test_two_thousand_routes_come_back_in_both_processes(as_before: RoutedNode) -> None:
    routed = as_before
    names = [f"n{number}.many.org" for number in range(2000)]
    routed.feed.set(DOMAINS | dict.fromkeys(names, 1))
    eventually(lambda: ask(routed, names[-1]).status == 503, seconds=20.0)
    address = str(routed.paths.apps / "30001/sockets/shop.sock")
    key_id = sha256(public_pem(1).encode()).hexdigest()
    routes = [asdict(Route(name, address, 30001, 1, key_id)) for name in names]
    with _stopped_gate(routed) as table:
        table.write_text(json.dumps(routes))
        shutil.chown(table, DOMINATOR_UID, NODE_GID)
    eventually(lambda: "table replayed" in routed.log("gate"), seconds=20.0)
    (ROOT / "gate.log").write_text("")
    started = time.monotonic()
    for pid in routed.router_children():
        routed.kill(pid)
    eventually(lambda: "table replayed" in routed.log("gate"), seconds=20.0)
    print(f"\n2,000 domains are back {time.monotonic() - started:.2f} s after both kills:")
    print(next(line for line in routed.log("gate").splitlines() if "table replayed" in line))
    wrong = [name for name in names[::20] * 6 if ask(routed, name).app != "shop"]
    assert not wrong
    _print_costs(routed)


def test_the_routers_figures_are_for_the_collector_alone(routed: RoutedNode) -> None:
    path = routed.paths.router_stats / "stats.sock"
    script = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    command = [sys.executable, "-I", "-S", "-c", script, str(path)]
    for uid, gid, may in ((COLLECTOR_UID, NODE_GID, True), (30001, 30001, False)):
        done = subprocess.run(
            command, user=uid, group=gid, extra_groups=[], capture_output=True, timeout=10
        )
        assert (done.returncode == 0) is may


def _print_costs(routed: RoutedNode) -> None:
    pid = int((ROOT / "gate.pid").read_text())
    rollup = routed.run("cat", f"/proc/{pid}/smaps_rollup")
    pss = next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1]
    before = _ticks(routed, pid)
    time.sleep(3)
    used = (_ticks(routed, pid) - before) / os.sysconf("SC_CLK_TCK") / 3
    print(f"gate: {int(pss) / 1024:.1f} MB PSS, {used:.2%} of a core")


def _ticks(routed: RoutedNode, pid: int) -> int:
    fields = routed.run("cat", f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
