"""Measures what a customer's site feels of a neighbour that takes all it can get.

Run as root from the checkout on a running node: ``python -m bench.neighbour --root DIR``. It makes
two customers with a container each: one has a small site, the other makes one kind of noise after
another (bench/noise.py, bench/flood.py). Each noise stands between two quiet measurements of the
same run. The site is asked at a fixed rate by visitors who take precedence over all that runs
(bench/open_loop.py), then somebody logs in. Both containers are destroyed in the end; what a killed
run left is swept by the next.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import machine, noise
from bench.figures import as_markdown, as_text, placed
from bench.node import CUSTOMERS, Bench, make_customers

QUIET = "quiet"
NAMES = ("bench-site", "bench-noise")
APP = """
def application(environ, start):
    start("200 OK", [("Content-Type", "text/html"), ("Content-Length", "4096")])
    return [b"x" * 4096]
"""
VASSAL = """[uwsgi]
domain = %(domain)s
plugin = python3
wsgi-file = /containers/%(uid)s/app.py
processes = 2
disable-logging = true
"""
# From the noise's beginning to where its strength is measured, and from its end to the next.
RISING_SECONDS, ENDING_SECONDS = 3.0, 30.0
FLOOR_MS, FACTOR, LOGIN_SECONDS = 10.0, 2.0, 1.0
# The platform's processes, by a part of their command lines.
MARKS = {
    "router": "uWSGI http", "gate": "insula-dominator", "configurator": "insula-configurator",
    "collector": "insula-collector", "sshd": "sshd", "emperors": "insula:", "lxcfs": "lxcfs",
}  # fmt: skip
OUTSIDE = ("requests", "connections", "visits", "idle-connections", "logins")
# All at once: each finds what the others leave of pids, memory and disk.
TOGETHER = ("cpu", "memory", "disk", "fsync", "inodes", "descriptors", "udp", "log", "forks")


class CannotBeginError(Exception):
    """A noise that could not be made: its row has no figures, and does not hold."""


@dataclass
class Row:
    """What was felt during one noise, or during a quiet moment."""

    name: str
    requests: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    p50_ms: dict[str, float] = field(default_factory=dict)
    p99_ms: dict[str, float] = field(default_factory=dict)
    late_p99_ms: float = 0.0
    logins_s: list[float] = field(default_factory=list)
    cpu_percent: dict[str, float] = field(default_factory=dict)
    quiet_p99_ms: dict[str, float] = field(default_factory=dict)
    # the larger one of each round: how much a single round says
    rounds_p99_ms: list[float] = field(default_factory=list)
    held: bool = True


@dataclass
class Scene:
    """The two containers and what asks them."""

    bench: Bench
    site: int
    noisy: int
    domains: dict[int, str]
    options: argparse.Namespace
    idle_tasks: int = 0

    def noise_words(self, kind: str) -> list[str]:
        if kind == "announcements":
            return [self.domains[self.noisy]]
        if kind in ("udp", "tcp"):
            shown = json.loads(self.bench.insula("--json", "container", "show", str(self.site)))
            network = shown["address"].rpartition(".")[0]
            return [shown["address"], f"{network}.1", f"{network}.250", "198.51.100.7"]
        return []


def main() -> None:
    options = _options()
    about = machine.description()
    with tempfile.TemporaryDirectory() as scratch:
        key = Path(scratch) / "id"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(command, check=True)
        bench = Bench(options.root, options.ssh_port, key)
        make_customers(bench)
        _sweep(bench)
        try:
            rows = measure(_scene(bench, options), options.noises)
        finally:
            _sweep(bench)
    told = {"about": about, "demand": f"p99 <= max({FACTOR:g} x quiet, {FLOOR_MS:g} ms)",
            "rate": options.rate, "rows": [asdict(row) for row in rows]}  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    tables = table(rows)
    if options.markdown:
        page = options.markdown.read_text() if options.markdown.exists() else ""
        options.markdown.write_text(placed(page, as_markdown(tables)))
    print(as_text(tables))
    sys.exit(0 if all(row.held for row in rows) else 1)


def _sweep(bench: Bench) -> None:
    for item in json.loads(bench.insula("--json", "container", "list")):
        if item["name"] in NAMES:
            bench.insula("container", "destroy", str(item["uid"]), "--yes")


def _scene(bench: Bench, options: argparse.Namespace) -> Scene:
    """Two containers with a site each; the noisy one may use the whole machine's processors."""
    cores = os.cpu_count() or 1
    more = ["--wait", "--storage", "512M", "--cpu"]
    site = bench.create(NAMES[0], *more, "100%", "--memory", "256M", customer=CUSTOMERS[0])
    noisy = bench.create(
        NAMES[1], *more, f"{100 * cores}%", "--memory", "512M", "--pids", "512",
        customer=CUSTOMERS[1],
    )  # fmt: skip
    domains = {}
    for uid in (site, noisy):
        shown = json.loads(bench.insula("--json", "container", "show", str(uid)))
        domains[uid] = shown["domain"]
        values = {"uid": uid, "domain": shown["domain"]}
        bench.ssh(uid, "cat > app.py", APP)
        bench.ssh(uid, "cat > site.ini && mv site.ini vassals/", VASSAL % values)
    bench.ssh(noisy, "cat > noise.py", Path(noise.__file__).read_text())
    for uid in (site, noisy):
        _until_announced(bench, domains[uid])
    scene = Scene(bench, site, noisy, domains, options)
    scene.idle_tasks = _tasks(scene, noisy)
    return scene


def _until_announced(bench: Bench, domain: str) -> None:
    table = bench.root / "run/insula/dominator/table.json"
    machine.until(
        lambda: any(item["domain"] == domain for item in json.loads(table.read_text())),
        30, f"{domain} announced",
    )  # fmt: skip


def measure(scene: Scene, noises: list[str]) -> list[Row]:
    """Each noise between two quiet moments, in as many rounds as wanted; a row for each noise."""
    rounds = scene.options.rounds
    rows = [felt(scene, QUIET)]
    for number, name in enumerate(noises * rounds):
        print(f"[{number + 1}/{len(noises) * rounds}] {name}", file=sys.stderr, flush=True)
        try:
            with noisy(scene, name):
                rows.append(felt(scene, name))
        except CannotBeginError as error:
            rows.append(Row(name, lost={str(error): 1}))
        _until_over(scene)
        rows.append(felt(scene, QUIET))
    together = [_together([row for row in rows if row.name == name]) for name in (QUIET, *noises)]
    judge(together)
    return together


def _together(rows: list[Row]) -> Row:
    """The medians of several rounds' figures; all that was lost, and all logins."""
    lost: Counter[str] = Counter()
    for row in rows:
        lost.update(row.lost)

    def middle(named: list[dict[str, float]]) -> dict[str, float]:
        names = {name for figures in named for name in figures}
        return {
            name: round(statistics.median(figures[name] for figures in named if name in figures), 2)
            for name in sorted(names)
        }

    return Row(
        rows[0].name, sum(row.requests for row in rows), dict(lost),
        middle([row.p50_ms for row in rows]), middle([row.p99_ms for row in rows]),
        statistics.median(row.late_p99_ms for row in rows),
        [seconds for row in rows for seconds in row.logins_s],
        middle([row.cpu_percent for row in rows]),
        rounds_p99_ms=[max(row.p99_ms.values(), default=0.0) for row in rows],
    )  # fmt: skip


def judge(rows: list[Row]) -> None:
    """Hold each noise against the quiet moments of the same run."""
    usual = next(row.p99_ms for row in rows if row.name == QUIET)
    for row in rows:
        row.quiet_p99_ms = usual
        if row.name == QUIET:
            continue
        fast = all(
            row.p99_ms.get(kind, float("inf")) <= max(FACTOR * usual[kind], FLOOR_MS)
            for kind in usual
        )
        row.held = fast and not row.lost and max(row.logins_s, default=0.0) < LOGIN_SECONDS


def felt(scene: Scene, name: str) -> Row:
    """Ask the site for a while, then log in some times: a login is work, so not at once."""
    options, row = scene.options, Row(name)
    parties = _Parties(scene)
    seconds = options.seconds if name != QUIET else options.seconds / 2
    words = [str(options.http_port), scene.domains[scene.site], str(options.rate), str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.open_loop", *words],
        check=True, capture_output=True, text=True, timeout=seconds + 60,
    )  # fmt: skip
    row.cpu_percent = parties.used()
    heard = json.loads(done.stdout)
    row.lost = heard["lost"]
    row.requests = len(heard["late"])
    row.late_p99_ms = _quantile(heard["late"], 0.99)
    for kind in ("kept", "new"):
        if heard[kind]:
            row.p50_ms[kind] = _quantile(heard[kind], 0.50)
            row.p99_ms[kind] = _quantile(heard[kind], 0.99)
    row.logins_s = [login(scene) for _ in range(options.logins if name != QUIET else 3)]
    return row


def login(scene: Scene) -> float:
    """Seconds of a whole ``ssh UID true``; the client goes first, as another computer would."""
    start = time.monotonic()
    done = subprocess.run(
        [*scene.bench.ssh_words(), f"{scene.site}@127.0.0.1", "true"],
        preexec_fn=lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5)),
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return time.monotonic() - start if done.returncode == 0 else float("inf")


@contextmanager
def noisy(scene: Scene, name: str) -> Iterator[None]:
    """Make one noise, or all of them, while the block runs; it is at full strength by then."""
    options = scene.options
    kinds = TOGETHER if name == "together" else (name,)
    # It ends by itself: with all pids used up nobody could stop it.
    length = RISING_SECONDS + options.seconds + options.logins * 1.5 + 2.0
    with ExitStack() as stack:
        for kind in kinds:
            make = _flood if kind in OUTSIDE else _noise
            stack.enter_context(make(scene, kind, length))
        time.sleep(RISING_SECONDS)
        yield


@contextmanager
def _noise(scene: Scene, kind: str, length: float) -> Iterator[None]:
    words = " ".join(scene.noise_words(kind))
    command = [*scene.bench.ssh_words(), f"{scene.noisy}@127.0.0.1"]
    with subprocess.Popen(
        [*command, f"exec python3 noise.py {kind} {length:.0f} {words}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as making:  # fmt: skip
        try:
            assert making.stdout
            if making.stdout.readline() != "@go\n":
                raise CannotBeginError(f"{kind} did not begin")
            yield
        finally:
            assert making.stdin
            making.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                making.wait(ENDING_SECONDS)
            making.kill()


@contextmanager
def _flood(scene: Scene, kind: str, length: float) -> Iterator[None]:
    domain = scene.domains[scene.site if kind == "visits" else scene.noisy]
    words = [kind, f"{length:.0f}", str(scene.options.http_port), domain]
    if kind == "logins":
        words += [*scene.bench.ssh_words(), f"{scene.noisy}@127.0.0.1", "true"]
    command = [sys.executable, "-m", "bench.flood", *words]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as making:
        try:
            yield
        finally:
            making.terminate()


def _until_over(scene: Scene) -> None:
    """Wait until the container is as it was; boot it anew if it does not get there by itself."""
    deadline = time.monotonic() + ENDING_SECONDS
    while _tasks(scene, scene.noisy) > scene.idle_tasks or not _tidied(scene):
        if time.monotonic() > deadline:
            scene.bench.insula("container", "reboot", str(scene.noisy))
            deadline += ENDING_SECONDS
        time.sleep(0.2)
    time.sleep(2.0)


def _tidied(scene: Scene) -> bool:
    words = [*scene.bench.ssh_words(), f"{scene.noisy}@127.0.0.1"]
    # The log is open: it is emptied, not deleted.
    tidy = "rm -rf noise /tmp/noise-* /dev/shm/* vassals/noise-*; for f in logs/*; do : > $f; done"
    return subprocess.run([*words, tidy], check=False, capture_output=True).returncode == 0


def _groups(scene: Scene, uid: int) -> list[Path]:
    listed = (scene.bench.root / f"run/insula/cgroups/{uid}").read_text()
    return [Path(line) for line in listed.splitlines()]


def _tasks(scene: Scene, uid: int) -> int:
    """Processes and threads of a container."""
    found = [group / "pids.current" for group in _groups(scene, uid)]
    return next(int(path.read_text()) for path in found if path.exists())


def _pids(scene: Scene, uid: int) -> set[int]:
    return {int(word) for word in (_groups(scene, uid)[0] / "cgroup.procs").read_text().split()}


def _platform(bench: Bench) -> dict[int, str]:
    """The command lines of the Emperors, their services and daemons; not of what containers run."""
    emperor = int((bench.root / "run/insula/emperor.pid").read_text())
    found, todo = {}, [(emperor, 0)]
    while todo:
        pid, depth = todo.pop()
        try:
            text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if depth < 2 and "insula: containers" not in text:
                below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                todo += [(int(child), depth + 1) for child in below]
        except OSError:
            continue
        found[pid] = text
    return found


class _Parties:
    """Who uses the processors: in percent of one core, from the object's making until ``used``."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.platform = _platform(scene.bench)
        self.start = time.monotonic()
        self.before = self._now()

    def used(self) -> dict[str, float]:
        seconds, now = time.monotonic() - self.start, self._now()
        return {
            name: round((value - self.before.get(name, 0.0)) / seconds * 100, 1)
            for name, value in now.items()
        }

    def _now(self) -> dict[str, float]:
        scene = self.scene
        found = {"site": self._group(scene.site), "noise": self._group(scene.noisy),
                 "API": self._group(30000)}  # fmt: skip
        for party, mark in MARKS.items():
            pids = [pid for pid, text in self.platform.items() if mark in text]
            found[party] = machine.cpu_us(pids) / 1e6
        return found

    def _group(self, uid: int) -> float:
        """Seconds of processor time of a container, its ended processes' too."""
        groups = _groups(self.scene, uid)
        for group in groups:
            usage = group / "cpuacct.usage"
            if usage.exists():
                return int(usage.read_text()) / 1e9
        stat = (groups[0] / "cpu.stat").read_text().split()
        return int(stat[stat.index("usage_usec") + 1]) / 1e6


def _quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2)


def table(rows: list[Row]) -> list[list[str]]:
    """A line for each noise, and one for the quiet moments between them."""
    head = ["", "kept: p50, p99 ms", "ratio", "new: p50, p99 ms", "ratio", "lost", "login s",
            "late p99", "cpu: site, noise, router, gate, rest", "held"]  # fmt: skip
    return [head, *(_line(row) for row in rows)]


def _line(row: Row) -> list[str]:
    def times(kind: str) -> list[str]:
        if kind not in row.p99_ms:
            return ["none", "-"]
        ratio = row.p99_ms[kind] / row.quiet_p99_ms[kind]
        return [f"{row.p50_ms[kind]:.1f}, {row.p99_ms[kind]:.1f}", f"{ratio:.1f}"]

    cpu = {name: row.cpu_percent.get(name, 0.0) for name in ("site", "noise", *MARKS, "API")}
    main = ("site", "noise", "router", "gate")
    rest = sum(value for name, value in cpu.items() if name not in main)
    ordered = sorted(row.logins_s)
    logins = "-" if not ordered else (
        f"{ordered[0]:.2f} {statistics.median(ordered):.2f} {ordered[-1]:.2f}")  # fmt: skip
    return [
        row.name, *times("kept"), *times("new"), f"{sum(row.lost.values())} of {row.requests}",
        logins, f"{row.late_p99_ms:.1f}",
        ", ".join(f"{cpu[name]:.0f}" for name in main) + f", {rest:.0f}",
        "" if row.name == QUIET else "yes" if row.held else "NO",
    ]  # fmt: skip


def _options() -> argparse.Namespace:
    known = [*noise.KINDS, *OUTSIDE, "together"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--ssh-port", type=int, default=2222)
    parser.add_argument("--http-port", type=int, default=80)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second to the site")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each noise's requests")
    parser.add_argument("--rounds", type=int, default=1, help="of all noises; medians count")
    parser.add_argument("--logins", type=int, default=5, help="during each noise")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="a page whose table is replaced")
    parser.add_argument("noises", nargs="*", default=known, metavar="NOISE",
                        help=f"some of: {', '.join(known)}")  # fmt: skip
    options = parser.parse_args()
    if unknown := set(options.noises) - set(known):
        parser.error(f"no noise {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


if __name__ == "__main__":
    main()
