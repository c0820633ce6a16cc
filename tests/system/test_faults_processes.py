"""Each process of a node, killed and stopped under traffic: docs/faults.md, "Processes"."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from insula.emperor import service
from insula.vassals.identity import API_UID
from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import HTTP_PORT, Node, until
from tests.system.processes import Sampler, children, kill, named_below, service_child, tree
from tests.system.scene import Scene, scene_on

pytestmark = pytest.mark.system

# care.c looks every 5 s and wakes what is stopped for 10 s.
WOKEN_SECONDS = 15.0
ROUTER_FILES = 200
# One customer may have 200 containers.
CROWD_CUSTOMERS = ("crowd", "throng")


@dataclass(frozen=True)
class Victim:
    """A process whose death no visitor of another container's site may notice."""

    find: Callable[[Scene], int | None]
    # The words of the log, and the container whose log it is; None for the node's.
    says: str
    log_of: Callable[[Scene], int] | None = None

    def pid(self, scene: Scene) -> int | None:
        """None while it, or whoever starts it, is not there."""
        try:
            return self.find(scene)
        except (AssertionError, OSError, StopIteration, IndexError):
            return None


def _attached(name: str) -> Victim:
    return Victim(
        lambda scene: processes.daemon(scene.node, name), f"[uwsgi-daemons] respawning {name}"
    )


def _service(name: str) -> Victim:
    return Victim(lambda scene: tree(name, scene.node), f"removed uwsgi instance {name}.ini")


def _api(*words: str, says: str) -> Victim:
    return Victim(
        lambda scene: named_below(
            processes.first_process(scene.node, API_UID), "insula-api", *words
        ),
        says,
        lambda scene: API_UID,
    )


def _demo(role: Callable[[int], int | None], says: str) -> Victim:
    """A process of another customer's container."""

    def find(scene: Scene) -> int | None:
        first = processes.first_process(scene.node, scene.demo)
        return role(first) if first else None

    return Victim(find, says, lambda scene: scene.demo)


def _grandchild(first: int) -> int | None:
    masters = children(first)
    workers = children(masters[0]) if masters else []
    return workers[0] if workers else None


KILLED = {
    "configurator": _attached("insula-configurator"),
    "dominator": _attached("insula-dominator"),
    "collector": _attached("insula-collector"),
    "sshd": _attached("sshd"),
    "daemons' master": _service("daemons"),
    "pages": _service("pages"),
    "pages' worker": Victim(lambda scene: service_child(scene.node, "pages"), "DAMN ! worker 1"),
    "absent pages": _service("pages-absent"),
    "API: a master": _api("public", "master", says="removed uwsgi instance public.ini"),
    "API: the worker for people": _api("public", "worker", says="DAMN ! worker 1"),
    "API: the worker for the node": _api("node", "worker", says="DAMN ! worker 1"),
    "another container's master": _demo(
        lambda first: next(iter(children(first)), None), "removed uwsgi instance demo.ini"
    ),
    "another container's worker": _demo(_grandchild, "DAMN ! worker 1"),
}


@pytest.fixture(scope="module")
def scene(node: Node) -> Scene:
    return scene_on(node, "bystander")


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_process_is_not_missed(scene: Scene, name: str) -> None:
    victim = KILLED[name]
    with scene.nothing_lost(), scene.nothing_forgotten():
        log = _Log(scene, victim)
        old = victim.pid(scene)
        assert old is not None
        kill(old)
        seconds = until(lambda: victim.pid(scene) not in (None, old), 10 * BUSY, f"{name} is back")
        whole = scene.is_whole()
        assert victim.pid(scene) not in (None, old)
        until(lambda: all(word in log.news() for word in victim.says.split()), 10, victim.says)
    print(f"{name}: back after {seconds:.2f} s, the node whole {whole:.2f} s later")


class _Log:
    """What was written since to the log that tells of a victim."""

    def __init__(self, scene: Scene, victim: Victim) -> None:
        self.path = scene.node.paths.lib / "log/emperor.log"
        if victim.log_of:
            # Only the tests may read it by its path: its customer could have put a link there.
            home = scene.node.paths.pool / "containers" / str(victim.log_of(scene)) / "home"
            self.path = home / "logs/emperor.log"
        self.start = self.path.stat().st_size

    def news(self) -> str:
        with self.path.open("rb") as log:
            log.seek(self.start)
            return log.read().decode(errors="replace")


NODE_LOG = Victim(lambda scene: None, "")


def test_a_session_that_is_killed_ends_alone(scene: Scene) -> None:
    with scene.nothing_lost(), ExitStack() as sessions:
        listener = processes.daemon(scene.node, "sshd")
        assert listener is not None
        one, two = (sessions.enter_context(_Session(scene)) for _ in range(2))
        until(lambda: len(children(listener)) >= 2, 10 * BUSY, "both are in")
        kill(children(listener)[0])
        until(lambda: (one.is_over(), two.is_over()).count(True) == 1, 10 * BUSY, "one has ended")
        time.sleep(0.5)
        assert (one.is_over(), two.is_over()).count(True) == 1
        assert processes.daemon(scene.node, "sshd") == listener
        assert scene.logs_in()


class _Session:
    """An ssh session that lasts while the ``with`` block runs."""

    def __init__(self, scene: Scene) -> None:
        self.words = [*scene.node.ssh_words(), f"{scene.uid}@127.0.0.1", "sleep 60"]

    def __enter__(self) -> "_Session":
        self.process = subprocess.Popen(self.words)
        return self

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def test_what_is_stopped_goes_on(scene: Scene) -> None:
    """Nothing is lost, nothing is started anew: each is woken and goes on where it was."""
    with scene.nothing_lost(timeout=20 * BUSY), scene.nothing_forgotten():
        log = _Log(scene, NODE_LOG)
        stopped = _stoppable(scene)
        slowest = _stopped_go_on(stopped)
        assert all(processes.is_alive(pid) for pid in stopped.values())
        scene.is_whole()
        until(scene.logs_in, 15 * BUSY, "ssh works")
        assert "(uWSGI http 1) is stopped for" in log.news()
    print(f"{len(stopped)} stopped processes go on after {slowest:.1f} s")


def _stoppable(scene: Scene) -> dict[str, int]:
    """By name: every service and what it started, one of the router's; but not who wakes them."""
    found: dict[str, int | None] = {
        name: tree(name, scene.node) for name in ("router", "pages", "pages-absent", "containers")
    }
    found["router process"] = service_child(scene.node, "router")
    for name in ("insula-configurator", "insula-dominator", "insula-collector", "sshd"):
        found[name] = processes.daemon(scene.node, name)
    for uid in (scene.demo, scene.uid):
        found[f"first process of {uid}"] = processes.first_process(scene.node, uid)
    if not service.has_systemd():
        found["supervisor"] = service.supervisor_pid(scene.node.paths)
    for pid in scene.api_processes():
        found[f"API {pid}"] = pid
    assert None not in found.values(), found
    return {name: pid for name, pid in found.items() if pid is not None}


def _stopped_go_on(stopped: dict[str, int]) -> float:
    for pid in stopped.values():
        processes.stop(pid)
    try:
        return until(
            lambda: not any(processes.is_stopped(pid) for pid in stopped.values()),
            WOKEN_SECONDS * BUSY,
            "all go on",
        )
    finally:
        for pid in stopped.values():
            processes.resume(pid)


@pytest.mark.parametrize(
    "name", ["root Emperor", pytest.param("daemons' master", marks=pytest.mark.soak)]
)
def test_who_wakes_the_others_is_woken(scene: Scene, name: str) -> None:
    node = scene.node
    root = name == "root Emperor"
    with scene.nothing_lost(), scene.nothing_forgotten():
        pid = processes.emperor(node) if root else tree("daemons", node)
        seconds = _stopped_go_on({name: pid})
        scene.is_whole()
        again = processes.emperor(node) if root else tree("daemons", node)
        assert again == pid
    print(f"the stopped {name} goes on after {seconds:.1f} s")


def test_a_killed_supervisor_ends_nothing_and_the_doctor_says_so(scene: Scene) -> None:
    if service.has_systemd():
        pytest.skip("systemd is the supervisor")
    node = scene.node
    pid = service.supervisor_pid(node.paths)
    assert pid is not None
    with scene.nothing_lost():
        kill(pid)
        until(lambda: service.supervisor_pid(node.paths) is None, 10, "it is dead")
        time.sleep(1)
        found = {item["name"]: item for item in _doctor(node)}
        assert "supervisor" in found["node"]["detail"]
        assert found["node"]["state"] == "fail"
    node.insula("node", "down")
    node.insula("node", "up")
    scene.is_whole()


def _doctor(node: Node) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(
        node.insula("--json", "node", "doctor", check=False).stdout
    )
    return found


def test_idle_clients_cannot_take_the_routers_last_descriptor(scene: Scene) -> None:
    """They are cut off, the reason is logged a few times, and the processors are left alone."""
    node = scene.node
    ini = node.paths.services / "router.ini"
    installed = ini.read_text()
    with scene.nothing_forgotten():
        try:
            ini.write_text(installed.replace("files:65536", f"files:{ROUTER_FILES}"))
            until(lambda: _router_files(node) == ROUTER_FILES, 10 * BUSY, "a small router runs")
            scene.is_whole()
            log, before = _Log(scene, NODE_LOG), _router_cpu_seconds(node)
            with _IdleClients(3 * ROUTER_FILES):
                until(lambda: "no more clients can be taken" in log.news(), 10 * BUSY, "it says so")
                time.sleep(3)
            used = _router_cpu_seconds(node) - before
            back = scene.is_whole()
            assert log.news().count("no more clients") < 20
            assert len(log.news()) < 100_000
            assert used < 2.0
        finally:
            ini.write_text(installed)
        until(lambda: _router_files(node) != ROUTER_FILES, 10 * BUSY, "the router is itself again")
        scene.is_whole()
    print(f"router without descriptors: {used:.2f} s of CPU, whole {back:.2f} s after they left")


class _IdleClients:
    """Clients that connect and say nothing."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> None:
        for _ in range(self.count):
            client = socket.socket()
            client.settimeout(0.5)
            self.sockets.append(client)
            try:
                client.connect(("127.0.0.1", HTTP_PORT))
            except OSError:
                return  # the queue is full as well

    def __exit__(self, *_: object) -> None:
        for client in self.sockets:
            client.close()


def _router_files(node: Node) -> int:
    pid = service_child(node, "router")
    try:
        text = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return 0
    return int(next(line for line in text.splitlines() if "open files" in line).split()[3])


def _router_cpu_seconds(node: Node) -> float:
    ticks = 0
    for pid in children(tree("router", node)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def test_the_platform_has_its_descriptors_and_stands_behind_apps_for_the_kernel(
    scene: Scene,
) -> None:
    """Whatever limits bin/up was started with."""
    node = scene.node
    limits = Path(f"/proc/{processes.emperor(node)}/limits").read_text()
    line = next(line for line in limits.splitlines() if "open files" in line)
    assert int(line.split()[3]) == 8192
    first = processes.first_process(node, scene.uid)
    assert Path(f"/proc/{first}/oom_score_adj").read_text() == "0\n"
    assert int(Path(f"/proc/{processes.emperor(node)}/oom_score_adj").read_text()) in (0, -900)


BOMB = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(600)
    except OSError:
        time.sleep(0.05)
"""


def test_a_fork_bomb_ends_at_its_containers_limit(scene: Scene) -> None:
    node, uid = scene.node, scene.demo
    with scene.nothing_lost(), scene.nothing_forgotten():
        node.insula("container", "set", str(uid), "--pids", "120", "--wait")
        first = processes.first_process(node, uid)
        node.insula("enter", str(uid), "--", "sh", "-c", f"python3 -c '{BOMB}' >/dev/null 2>&1 &")
        current = processes.cgroup_file(node, uid, "pids.current")
        until(lambda: int(current.read_text()) >= 120, 10 * BUSY, "its limit is reached")
        assert scene.api_answers() and scene.logs_in()
        assert processes.first_process(node, uid) == first
        node.insula("container", "reboot", str(uid), "--wait")
        until(lambda: int(current.read_text()) < 60, 10 * BUSY, "the bomb is gone")
        scene.is_whole()


@pytest.mark.parametrize(
    ("which", "count"),
    [
        ("root", 20),
        pytest.param("containers", 300, marks=pytest.mark.soak),
        pytest.param("root", 300, marks=pytest.mark.soak),
    ],
)
def test_many_containers_come_back_once_each(scene: Scene, which: str, count: int) -> None:
    node = scene.node
    uids = _crowd(scene, count)
    pid = processes.emperor(node) if which == "root" else tree("containers", node)
    before = {uid: processes.first_process(node, uid) for uid in uids}
    with scene.nothing_forgotten():
        with Sampler(node, uids) as sampler:
            started = time.monotonic()
            kill(pid)
            until(lambda: _all_new(node, before), 60 * BUSY, "every container has booted again")
            booted = time.monotonic() - started
            scene.is_whole()
            seconds = time.monotonic() - started
        assert sampler.twice == []
        assert sampler.count > 5
    print(
        f"{which} Emperor, {count} containers: all booted after {booted:.2f} s, "
        f"everything back after {seconds:.2f} s, {sampler.count} samples"
    )
    assert seconds <= 20 * BUSY


def _crowd(scene: Scene, count: int) -> list[int]:
    """As many idle containers, made once and kept for the next test."""
    node = scene.node
    known = {item["name"] for item in node.json("customer", "list")}
    for name in CROWD_CUSTOMERS:
        if name not in known:
            node.insula("customer", "create", name)
    uids = [
        int(item["uid"])
        for item in node.json("container", "list")
        if item["customer"] in CROWD_CUSTOMERS and item["state"] != "destroyed"
    ]
    for number in range(len(uids), count):
        customer = CROWD_CUSTOMERS[number % len(CROWD_CUSTOMERS)]
        words = ["container", "create", "--customer", customer, "--name", f"crowd-{number}"]
        uids.append(int(node.json(*words)["uid"]))
    until(lambda: _all_new(node, dict.fromkeys(uids)), count * BUSY, "all run")
    return uids


def _all_new(node: Node, before: dict[int, int | None]) -> bool:
    try:
        return all(
            processes.first_process(node, uid) not in (None, old) for uid, old in before.items()
        )
    except (OSError, StopIteration, IndexError):
        return False  # its cgroups are being made


@pytest.mark.soak
def test_a_configurator_that_hangs_is_replaced(scene: Scene) -> None:
    """A pipe in place of a file holds it for ever; the next one reads the file again."""
    local = scene.node.paths.local_json
    installed, found = local.read_bytes(), local.stat()
    with scene.nothing_lost(), scene.nothing_forgotten():
        log = _Log(scene, NODE_LOG)
        old = processes.daemon(scene.node, "insula-configurator")
        pipe = local.with_name(".pipe")
        os.mkfifo(pipe)
        os.rename(pipe, local)
        try:
            until(lambda: "is silent for" in log.news(), 200 * BUSY, "it is noticed")
        finally:
            whole = local.with_name(".whole")
            whole.write_bytes(installed)
            whole.chmod(found.st_mode & 0o777)
            os.chown(whole, found.st_uid, found.st_gid)
            os.rename(whole, local)
        until(
            lambda: processes.daemon(scene.node, "insula-configurator") not in (None, old),
            30 * BUSY, "another one runs",
        )  # fmt: skip
        scene.is_whole()


@pytest.mark.soak
def test_a_request_of_the_api_that_hangs_ends_its_process(scene: Scene) -> None:
    """A pipe in place of the list of revoked tokens holds the thread that opens it for ever."""
    node, place = scene.node, scene.node.paths.api_backups / "revoked-tokens"
    victim = KILLED["API: the worker for people"]
    node.insula("customer", "create", "hanging")
    node.insula("customer", "token", "hanging")
    number = node.json("customer", "tokens", "hanging")[0]["id"]
    with scene.nothing_lost(), scene.nothing_forgotten():
        log, old = _Log(scene, victim), victim.pid(scene)
        place.unlink(missing_ok=True)
        os.mkfifo(place, 0o600)
        os.chown(place, API_UID, API_UID)
        words = [str(node.paths.venv / "bin/insula"), "--root", str(node.root)]
        with subprocess.Popen(
            [*words, "customer", "revoke", "hanging", str(number)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as asking:  # fmt: skip
            try:
                began = time.monotonic()
                # Others are answered meanwhile.
                assert scene.api_answers()
                until(lambda: victim.pid(scene) not in (None, old), 250 * BUSY, "it is noticed")
                seconds = time.monotonic() - began
            finally:
                place.unlink()
                asking.kill()
        scene.is_whole()
        said = log.news()
        assert "a request hangs for 180 s" in said and "revocations.py" in said
    assert seconds > 180
    node.insula("customer", "revoke", "hanging", str(number))
    assert node.json("customer", "tokens", "hanging") == []
    print(f"a request of the API that hangs: its process is another one after {seconds:.0f} s")
