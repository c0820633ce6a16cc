"""A container that takes all it can get: its limits hold, and its neighbour is served and entered.

How long the neighbour's visitors wait is measured by bench/neighbour.py (docs/benchmarks.md).
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import noise
from insula.emperor import service
from insula.emperor.kernel import cgroup
from tests.patience import BUSY
from tests.system.conftest import CHECKOUT, HTTP_PORT, SSH_PORT, Node, until
from tests.system.steady import Steady

pytestmark = pytest.mark.system
MEMORY_BYTES, PIDS = 256 << 20, 200
CORES = "200%"
# A noise that nobody stops ends by itself.
LONGEST_SECONDS = 60


@dataclass(frozen=True)
class Street:
    """Two containers of two customers, a site in each."""

    node: Node
    noisy: int
    quiet: int

    def domain(self, uid: int) -> str:
        return f"{'loud' if uid == self.noisy else 'calm'}.insula.test"

    def figure(self, uid: int, *names: str) -> int:
        """The first of these files that a group of the container has, as a number."""
        groups = (self.node.paths.cgroups(uid)).read_text().splitlines()
        found = [Path(group) / name for name in names for group in groups]
        return next(int(path.read_text()) for path in found if path.exists())

    def pids(self, uid: int) -> int:
        return self.figure(uid, "pids.current")

    def cpu_seconds(self, uid: int) -> float:
        groups = [Path(line) for line in self.node.paths.cgroups(uid).read_text().splitlines()]
        for group in groups:
            if (group / "cpuacct.usage").exists():
                return int((group / "cpuacct.usage").read_text()) / 1e9
        words = (groups[0] / "cpu.stat").read_text().split()
        return int(words[words.index("usage_usec") + 1]) / 1e6

    @contextmanager
    def noise(self, uid: int, kind: str, *words: str) -> Iterator[None]:
        """Make a kind of noise in a container while the block runs."""
        command = f"exec python3 noise.py {kind} {LONGEST_SECONDS} {' '.join(words)}"
        with subprocess.Popen(
            [*self.node.ssh_words(), f"{uid}@127.0.0.1", command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as making:  # fmt: skip
            assert making.stdin and making.stdout
            try:
                assert making.stdout.readline() == "@go\n"
                yield
            finally:
                making.stdin.close()
                making.wait(LONGEST_SECONDS)


@pytest.fixture(scope="module")
def street(node: Node) -> Iterator[Street]:
    node.insula("customer", "create", "loud")
    node.insula("customer", "create", "calm")
    limits = ("--memory", str(MEMORY_BYTES), "--pids", str(PIDS), "--storage", "128M")
    noisy = node.container("loud", "loud", "--cpu", CORES, *limits)
    quiet = node.container("calm", "calm", "--cpu", CORES, "--storage", "128M")
    street = Street(node, noisy, quiet)
    for uid in (noisy, quiet):
        node.site(uid, street.domain(uid))
        node.ssh(uid, "cat > noise.py", stdin=Path(noise.__file__).read_text())
    yield street
    for uid in (noisy, quiet):
        node.insula("container", "destroy", str(uid), "--yes")


@pytest.mark.parametrize("kind", ["forks", "memory", "disk", "inodes", "descriptors"])
def test_a_container_at_its_limits_costs_its_neighbour_no_request(
    street: Street, kind: str
) -> None:
    before = street.pids(street.noisy)
    with Steady(street.node, street.domain(street.quiet), timeout=20) as visitor:
        with street.noise(street.noisy, kind):
            end = time.monotonic() + 2.0
            tasks = []
            while time.monotonic() < end:
                tasks.append(street.pids(street.noisy))
                used = street.figure(street.noisy, "memory.usage_in_bytes", "memory.current")
                assert used <= MEMORY_BYTES
                time.sleep(0.02)
            street.node.ssh(street.quiet, "true", timeout=60)
            # The noise is one: without it the claims above say nothing.
            assert max(tasks) > before
            assert max(tasks) <= PIDS
    visitor.lost_nothing(of_at_least=10)
    if kind == "forks":
        assert max(tasks) > PIDS // 2
    # and its own site is back as soon as it is over
    street.node.answers(street.domain(street.noisy), 200, within=20)
    until(lambda: street.pids(street.noisy) <= before, 20, "the noise is over")


def test_many_processes_get_no_more_processor_than_a_few(street: Street) -> None:
    loop = "import os, time\nfor _ in range(2): os.fork()\nend = time.monotonic() + 60\n"
    loop += "while time.monotonic() < end and os.getppid() != 1: pass\n"
    street.node.ssh(street.quiet, "cat > few.py", stdin=loop)
    words = [
        *street.node.ssh_words(),
        f"{street.quiet}@127.0.0.1",
        "exec timeout 20 python3 few.py",
    ]
    with street.noise(street.noisy, "cpu"), subprocess.Popen(words) as few:
        # sixteen for each processor against four
        until(lambda: street.pids(street.noisy) > 30, 20, "many processes")
        time.sleep(1.0)
        before = {uid: street.cpu_seconds(uid) for uid in (street.noisy, street.quiet)}
        time.sleep(3.0)
        used = {uid: street.cpu_seconds(uid) - was for uid, was in before.items()}
        street.node.ssh(street.quiet, "kill -9 -1 2>/dev/null; true", check=False)
        few.wait(30)
    print({uid: round(seconds, 2) for uid, seconds in used.items()})
    assert used[street.quiet] > 0.5 * used[street.noisy]
    street.node.answers(street.domain(street.quiet), 200, within=30)


def test_the_platform_comes_before_the_containers(node: Node) -> None:
    """The router's own group weighs more than that of all containers, and the router is in it."""
    router = int((node.paths.run / "router/router.pid").read_text())
    own = Path(f"/proc/{router}/cgroup").read_text().splitlines()
    containers = cgroup.detect(_cgroup_name(node))
    if containers.version == 2:
        place = next(line.partition("::")[2] for line in own if line.startswith("0::"))
        group, name = cgroup.ROOT / place.lstrip("/"), "cpu.weight"
        base = containers.bases[0]
    else:
        line = next(line for line in own if "cpu" in line.split(":")[1].split(","))
        if service.has_systemd():
            pytest.skip("on v1 systemd keeps the services' group")
        group, name = cgroup.ROOT / "cpu" / line.split(":")[2].lstrip("/"), "cpu.shares"
        base = next(path for path in containers.bases if (path / name).exists())
    assert int((group / name).read_text()) == 10 * int((base / name).read_text())
    assert group.parent.resolve() == base.parent.resolve()


def _cgroup_name(node: Node) -> str:
    from insula.emperor import settings

    return settings.load(node.root).cgroup_name


@pytest.mark.soak
def test_the_neighbours_visitors_hardly_notice(node: Node, tmp_path: Path) -> None:
    told = tmp_path / "neighbour.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.neighbour", "--root", str(node.root),
         "--ssh-port", str(SSH_PORT), "--http-port", str(HTTP_PORT), "--json", str(told)],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    print(done.stdout)
    assert told.exists(), done.stderr
    rows = json.loads(told.read_text())["rows"]
    assert {row["name"] for row in rows} > {"quiet", "together", *noise.KINDS}
    for row in rows:
        assert row["lost"] == {}, row["name"]
        assert max(row["logins_s"]) < 1.0 * BUSY, row["name"]
        for kind, quiet in row["quiet_p99_ms"].items():
            limit = max(2 * quiet, 10.0) * BUSY
            assert row["p99_ms"][kind] <= limit, (row["name"], kind, row["p99_ms"], quiet)
