"""Measures a running node: boot, create to ssh, announcement, login, density, idle cost.

Run as root on a quiet node: ``bench/node.py --root DIR [--containers 300]``. Prints a table and
writes JSON. It makes customers ``bench-0`` … and destroys their containers in the end. The times of
a boot come from the same trace that ``insula explain`` shows.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGETS = {
    "boot_ms": ("vassal file to sub-Emperor, p50", 40.0),
    "create_to_ssh_s": ("container create --wait to ssh command done, p50", 1.5),
    "ready_to_announced_ms": ("app ready to announced, p50", 100.0),
    "ssh_true_ms": ("ssh UID true, p50", 250.0),
    "idle_container_mb": ("idle container, of the machine's available memory", 3.0),
    "idle_container_pss_mb": ("idle container, PSS of its process", 3.0),
    "boots_per_second": ("containers booted a second", 15.0),
    "collector_round_s": ("collector CPU a round over all containers", 0.2),
    "daemons_pss_mb": ("daemons and API idle, PSS together", 200.0),
    "daemons_cpu_percent": ("daemons and API idle, of one core", 1.0),
}
HIGHER_IS_BETTER = {"boots_per_second"}
# The API gives one customer 200 containers.
CUSTOMERS = tuple(f"bench-{number}" for number in range(8))
CONTAINERS_EACH = 150


@dataclass
class Bench:
    root: Path
    ssh_port: int
    key: Path

    def insula(self, *words: str) -> str:
        program = self.root / "var/lib/insula/venv/bin/insula"
        command = [str(program), "--root", str(self.root), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def create(self, name: str, *options: str, customer: str = CUSTOMERS[0]) -> int:
        words = ["container", "create", "--customer", customer, "--name", name, "--memory", "64M"]
        words += ["--storage", "64M", "--ssh-key", f"{self.key}.pub", *options]
        return int(json.loads(self.insula("--json", *words))["uid"])

    def create_fast(self, name: str, customer: str) -> int:
        """Create without the command line's own start, which would be what is measured."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.root / "run/insula/api-operator/api.sock"))
        body = {"customer": customer, "name": name, "memory_bytes": 64 << 20}
        body |= {"storage_bytes": 64 << 20}
        connection.request("POST", "/api/v1/containers", json.dumps(body))
        uid = json.loads(connection.getresponse().read())["uid"]
        connection.close()
        return int(uid)

    def ssh_words(self) -> list[str]:
        """The ssh command line up to the host."""
        options = [
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
        ]
        words = ["ssh", "-F", "none", "-q", "-i", str(self.key), "-p", str(self.ssh_port)]
        return words + options

    def ssh(self, uid: int, command: str, stdin: str = "") -> str:
        done = subprocess.run(
            [*self.ssh_words(), f"{uid}@127.0.0.1", command],
            input=stdin,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise SystemExit(f"ssh {uid} {command}: {done.stderr}")
        return done.stdout

    def trace(self, uid: int) -> list[dict[str, Any]]:
        """The steps of a container, from the files that `insula explain` reads."""
        events = []
        for writer in ("configurator", "boot", "dominator"):
            path = self.root / f"run/insula/trace/{writer}/{uid}.jsonl"
            if path.exists():
                events += [json.loads(line) for line in path.read_text().splitlines()]
        return sorted(events, key=lambda event: event["at"])

    def step(self, uid: int, step: str, *, last: bool = False) -> float:
        found = [event["at"] for event in self.trace(uid) if event["step"] == step]
        if not found:
            raise SystemExit(f"container {uid}: no step {step} in the trace")
        return float(found[-1] if last else found[0])


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        key = Path(scratch) / "id"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(command, check=True)
        bench = Bench(options.root, options.ssh_port, key)
        make_customers(bench)
        figures = idle_cost(bench)
        uids, speed = start_one_by_one(bench, options.runs)
        figures |= speed | logins(bench, uids[0], options.runs) | announcements(bench, uids)
        if options.containers:
            more, density = fill(bench, options.containers - len(uids))
            uids += more
            figures |= density
        if not options.keep:
            for uid in uids:
                bench.insula("container", "destroy", str(uid), "--yes")
    report(figures, options.json)


def make_customers(bench: Bench) -> None:
    known = {item["name"] for item in json.loads(bench.insula("--json", "customer", "list"))}
    for name in CUSTOMERS:
        if name not in known:
            bench.insula("customer", "create", name)


def start_one_by_one(bench: Bench, runs: int) -> tuple[list[int], dict[str, float]]:
    """Create containers one after the other; each is waited for and entered."""
    uids, boots, whole = [], [], []
    for number in range(runs):
        start = time.monotonic()
        uid = bench.create(f"bench-{os.getpid()}-{number}", "--wait")
        bench.ssh(uid, "true")
        whole.append(time.monotonic() - start)
        boots.append((bench.step(uid, "sub-emperor-up") - bench.step(uid, "vassal-written")) * 1e3)
        uids.append(uid)
    return uids, {
        "boot_ms": statistics.median(boots),
        "create_to_ssh_s": statistics.median(whole),
    }


def logins(bench: Bench, uid: int, runs: int) -> dict[str, float]:
    times = []
    for _ in range(runs):
        start = time.monotonic()
        bench.ssh(uid, "true")
        times.append((time.monotonic() - start) * 1e3)
    return {"ssh_true_ms": statistics.median(times)}


APP = """
import time
def application(environ, start):
    start('200 OK', [])
    return [b'ok']
open('ready', 'w').write(repr(time.time()))
"""


def announcements(bench: Bench, uids: Iterable[int]) -> dict[str, float]:
    """Drop an app into each container: from its uWSGI's start to the gate's word for it."""
    ready, dropped = [], []
    for uid in uids:
        names = json.loads(bench.insula("--json", "container", "show", str(uid)))
        vassal = f"[uwsgi]\ndomain = {names['domain']}\nplugin = python3\nwsgi-file = app.py\n"
        vassal += f"chdir = /containers/{uid}\n"
        bench.ssh(uid, "cat > app.py", APP)
        at = bench.ssh(uid, "cat > .new; date +%s.%N; mv .new vassals/app.ini", vassal)
        _wait_for(bench, uid, "routed")
        announced = bench.step(uid, "announced")
        ready.append((announced - float(bench.ssh(uid, "cat ready"))) * 1e3)
        dropped.append((announced - float(at)) * 1e3)
        bench.ssh(uid, "rm vassals/app.ini")
    return {
        "ready_to_announced_ms": statistics.median(ready),
        "dropped_to_announced_ms": statistics.median(dropped),
    }


def _wait_for(bench: Bench, uid: int, step: str) -> None:
    deadline = time.monotonic() + 30
    while not any(event["step"] == step for event in bench.trace(uid)):
        if time.monotonic() > deadline:
            raise SystemExit(f"container {uid}: no step {step} within 30 s")
        time.sleep(0.01)


def fill(bench: Bench, count: int) -> tuple[list[int], dict[str, float]]:
    """Create many containers as fast as the API takes them; measure their rate and their memory."""
    before = _available_mb()
    start = time.monotonic()
    uids = []
    for number in range(count):
        customer = CUSTOMERS[1 + number // CONTAINERS_EACH]
        name = f"bench-{os.getpid()}-m{number}"
        uids.append(bench.create_fast(name, customer))
    asked = time.monotonic() - start
    for uid in uids:
        _wait_for(bench, uid, "sub-emperor-up")
    first = min(bench.step(uid, "vassal-written") for uid in uids)
    last = max(bench.step(uid, "sub-emperor-up") for uid in uids)
    time.sleep(5)
    # The whole machine's view: processes, page tables, namespaces, links, mounts.
    memory = (before - _available_mb()) / count
    return uids, {
        "containers": float(count),
        "asked_per_second": count / asked,
        "boots_per_second": count / (last - first),
        "idle_container_mb": memory,
        "idle_container_pss_mb": statistics.median(_first_process_pss_mb(bench, u) for u in uids),
        "collector_round_s": _collector_round(bench),
    }


def _available_mb() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no MemAvailable in /proc/meminfo")


def _first_process_pss_mb(bench: Bench, uid: int) -> float:
    for group in (bench.root / f"run/insula/cgroups/{uid}").read_text().splitlines():
        for pid in (Path(group) / "cgroup.procs").read_text().split():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1024
    raise SystemExit(f"container {uid}: no process")


def _processes(bench: Bench) -> dict[int, str]:
    """The daemons' and the API's processes by pid."""
    marks = ("insula-configurator", "insula-dominator", "insula-collector")
    group = (bench.root / "run/insula/cgroups/30000").read_text().splitlines()[0]
    api = set((Path(group) / "cgroup.procs").read_text().split())
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        ours = any(mark in command for mark in marks) and f"--root {bench.root}" in command
        if ours or directory.name in api:
            found[int(directory.name)] = command.strip()
    return found


def _cpu_seconds(pid: int) -> float:
    """What a process has used; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _collector_round(bench: Bench, seconds: float = 60.0) -> float:
    pids = [pid for pid, command in _processes(bench).items() if "insula-collector" in command]
    before = sum(_cpu_seconds(pid) for pid in pids)
    socket = bench.root / "run/insula/collector/metrics.sock"
    rounds = 10
    for _ in range(rounds):
        command = ["curl", "-sf", "-o", "/dev/null", "--unix-socket", str(socket)]
        subprocess.run([*command, "http://localhost/metrics"], check=True)
    return (sum(_cpu_seconds(pid) for pid in pids) - before) / rounds


def idle_cost(bench: Bench, seconds: float = 20.0) -> dict[str, float]:
    processes = _processes(bench)
    before = {pid: _cpu_seconds(pid) for pid in processes}
    time.sleep(seconds)
    alive = {pid: start for pid, start in before.items() if Path(f"/proc/{pid}").exists()}
    used = sum(_cpu_seconds(pid) - start for pid, start in alive.items())
    pss = 0
    for pid in alive:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                pss += int(line.split()[1])
    return {"daemons_pss_mb": pss / 1024, "daemons_cpu_percent": used / seconds * 100}


def report(figures: dict[str, float], path: Path) -> None:
    for name, value in figures.items():
        text, target = TARGETS.get(name, (name.replace("_", " "), None))
        verdict = ""
        if target is not None:
            met = value >= target if name in HIGHER_IS_BETTER else value <= target
            verdict = f"target {target:g}: {'met' if met else 'MISSED'}"
        print(f"{text:55} {value:10.2f}   {verdict}")
    path.write_text(json.dumps(figures, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--ssh-port", type=int, default=2222)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--containers", type=int, default=0, help="fill up to this many")
    parser.add_argument("--keep", action="store_true", help="do not destroy the containers")
    parser.add_argument("--json", type=Path, default=Path("bench-node.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
