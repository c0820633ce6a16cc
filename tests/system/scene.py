"""A site and its visitor: what must not notice that something else broke."""

import http.client
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from insula.vassals.identity import API_UID
from tests.patience import BUSY
from tests.system import processes
from tests.system.conftest import Node, until
from tests.system.steady import Steady

# A busy machine boots three containers in this time.
WHOLE_SECONDS = 10 * BUSY


@dataclass(frozen=True)
class Scene:
    """A node with a site on it."""

    node: Node
    uid: int
    site: str

    @property
    def demo(self) -> int:
        """Another customer's container."""
        return int(self.node.up["demo"]["uid"])

    @property
    def uids(self) -> list[int]:
        return [API_UID, self.demo, self.uid]

    def firsts(self) -> dict[int, int | None]:
        return {uid: processes.first_process(self.node, uid) for uid in self.uids}

    def everything_is_back(self) -> bool:
        """Every container runs once, the API answers, both sites answer every time."""
        try:
            if None in self.firsts().values() or not self.api_answers():
                return False
        except (OSError, StopIteration, IndexError):
            return False  # the cgroups are being made
        hosts = [self.site, self.node.up["demo"]["domain"]] * 3
        return all(self.status(host) == 200 for host in hosts)

    def is_whole(self) -> float:
        """Wait for it; return the seconds it took."""
        return until(self.everything_is_back, WHOLE_SECONDS, "the node is whole")

    def api_answers(self) -> bool:
        return self.node.insula("container", "list", check=False).returncode == 0

    def api_processes(self) -> list[int]:
        first = processes.first_process(self.node, API_UID)
        return [pid for pid in processes.processes(self.node, API_UID) if pid != first]

    def status(self, host: str) -> int:
        """What the router answers for a host; 0 when it does not."""
        try:
            return self.node.get(host, timeout=3).status
        except (OSError, http.client.HTTPException):
            return 0

    def logs_in(self) -> bool:
        try:
            return self.node.ssh(self.uid, "true", check=False, timeout=10).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    @contextmanager
    def nothing_lost(self, *, timeout: float = 10) -> Iterator[Steady]:
        """Around a fault: no request of the site is lost, its container is not started anew."""
        self.is_whole()
        before = processes.first_process(self.node, self.uid)
        with Steady(self.node, self.site, timeout=timeout) as visitor:
            until(lambda: visitor.count > 10, 10, "the visitor comes")
            yield visitor
            count = visitor.count
            until(lambda: visitor.count > count + 10, 10 * BUSY, "the visitor still comes")
        visitor.lost_nothing(of_at_least=20)
        assert processes.first_process(self.node, self.uid) == before

    @contextmanager
    def nothing_forgotten(self) -> Iterator[None]:
        """Around a fault: what the API acknowledged before is there after, and nothing is to do."""
        wanted = self._another_limit()
        self.node.insula("container", "set", str(self.uid), "--pids", str(wanted))
        yield
        found = self.node.json("container", "show", str(self.uid))
        assert found["pids_max"] == wanted
        limit = processes.cgroup_file(self.node, self.uid, "pids.max")
        until(lambda: limit.read_text() == f"{wanted}\n", 10 * BUSY, "the limit is applied")
        until(lambda: self.to_do() == "", 10 * BUSY, "state equals desired state")

    def _another_limit(self) -> int:
        return 200 + int(self.node.json("container", "show", str(self.uid))["pids_max"]) % 50

    def to_do(self) -> str:
        """What the configurator would still change: nothing on a node that is as it should be."""
        program = self.node.root / "var/lib/insula/venv/bin/insula-configurator"
        done = subprocess.run(
            [program, "--root", self.node.root, "--dry-run"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


def scene_on(node: Node, name: str) -> Scene:
    """A customer with one container and a site on it."""
    node.insula("customer", "create", name)
    uid = node.container(name, name, "--memory", "128M")
    site = f"{name}.example.net"
    node.insula("domain", "add", site, "--customer", name)
    node.site(uid, site)
    return Scene(node, uid, site)
