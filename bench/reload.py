"""Counts the requests that are lost while a customer's app is reloaded, removed or killed.

Run as root from the checkout on a running node: ``python -m bench.reload --root DIR``. It makes the
customer ``bench-0`` and one container, asks it for pages with and without keep-alive, GET and POST,
and destroys the container in the end. An app notes each request before it answers: so a lost
request that it had begun (``in work``) is told from one that nobody saw (``lost``), and one that
was begun twice (``twice``) is seen.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.node import CUSTOMERS, Bench, make_customers
from bench.visitors import Visitors

APP = """
import os, time
begun = os.open("/containers/%(uid)s/begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
def application(environ, start):
    os.write(begun, (environ["PATH_INFO"][1:] + "\\n").encode())
    environ["wsgi.input"].read()
    time.sleep(%(work)s)
    start("200 OK", [("Content-Length", "3")])
    return [b"ok\\n"]
"""
VASSAL = """[uwsgi]
domain = %(domain)s
plugin = python3
wsgi-file = /containers/%(uid)s/app.py
pidfile = /tmp/%(name)s.pid
processes = 2
%(more)s
"""
SETTLED_SECONDS = 30.0


@dataclass
class Customer:
    """A shell in the container, open all the time: an event costs no login."""

    bench: Bench
    uid: int
    shell: subprocess.Popen[str]

    def run(self, command: str) -> str:
        assert self.shell.stdin and self.shell.stdout
        self.shell.stdin.write(f"{command}\necho @done\n")
        self.shell.stdin.flush()
        lines: list[str] = []
        for line in self.shell.stdout:
            if line == "@done\n":
                return "".join(lines)
            lines.append(line)
        raise SystemExit(f"the shell of {self.uid} ended at: {command}")


@dataclass
class Outcome:
    """What one scenario counted."""

    scenario: str
    events: int
    requests: int = 0
    lost: int = 0
    in_work: int = 0
    twice: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0


def reload_the_only_app(customer: Customer) -> None:
    customer.run("touch vassals/one.ini")


def reload_one_of_two(customer: Customer) -> None:
    customer.run("touch vassals/two.ini")


def remove_one_of_two(customer: Customer) -> None:
    customer.run("mv vassals/two.ini two.off; sleep 1.5; mv two.off vassals/two.ini")
    time.sleep(1.0)


def kill_one_of_two(customer: Customer) -> None:
    """All its processes at once, as the kernel does when a container's memory is full."""
    customer.run("p=$(cat /tmp/two.pid); kill -9 $p $(cat /proc/$p/task/$p/children)")
    time.sleep(2.0)


SCENARIOS: dict[str, tuple[Callable[[Customer], None], tuple[str, ...], int]] = {
    "reload": (reload_the_only_app, ("one",), 1),
    "reload-two": (reload_one_of_two, ("one", "two"), 1),
    "remove": (remove_one_of_two, ("one", "two"), 5),
    "kill": (kill_one_of_two, ("one", "two"), 5),
}


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        key = Path(scratch) / "id"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(command, check=True)
        bench = Bench(options.root, options.ssh_port, key)
        make_customers(bench)
        _sweep(bench)
        uid = bench.create("bench-reload", "--wait", customer=CUSTOMERS[0])
        try:
            outcomes = [_scenario(bench, uid, name, options) for name in options.scenarios]
        finally:
            bench.insula("container", "destroy", str(uid), "--yes")
    if options.json:
        options.json.write_text(json.dumps([asdict(o) for o in outcomes], indent=2) + "\n")
    sys.exit(1 if any(outcome.lost or outcome.twice for outcome in outcomes) else 0)


def _sweep(bench: Bench) -> None:
    """Destroy what a killed run left."""
    for item in json.loads(bench.insula("--json", "container", "list")):
        if item["name"] == "bench-reload":
            bench.insula("container", "destroy", str(item["uid"]), "--yes")


def _scenario(bench: Bench, uid: int, name: str, options: argparse.Namespace) -> Outcome:
    event, apps, cost = SCENARIOS[name]
    events = max(1, options.events // cost)
    domain = json.loads(bench.insula("--json", "container", "show", str(uid)))["domain"]
    words = bench.ssh_words() + [f"{uid}@127.0.0.1", "sh"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as shell:
        customer = Customer(bench, uid, shell)
        _install(customer, domain, apps, options)
        outcome = Outcome(name, events)
        with Visitors(options.http_port, domain, options.plain, options.kept) as visitors:
            for number in range(events):
                time.sleep(options.pause)
                event(customer)
                if sys.stderr.isatty():
                    print(f"\r{name} {number + 1}/{events}", end="", file=sys.stderr)
            time.sleep(1.0)
        begun = Counter(customer.run("cat begun").split())
        customer.run("rm -f vassals/*.ini begun")
        assert shell.stdin
        shell.stdin.close()
    _count(outcome, visitors, begun)
    _print(outcome, visitors)
    return outcome


def _install(
    customer: Customer, domain: str, apps: tuple[str, ...], options: argparse.Namespace
) -> None:
    """Put the apps there and wait until each of them has been asked."""
    uid = customer.uid
    customer.run(f"cat > app.py <<'@'\n{APP % {'uid': uid, 'work': options.work}}\n@\nrm -f begun")
    more = "\n".join(options.vassal_line)
    for name in apps:
        values = {"domain": domain, "uid": uid, "name": name, "more": more}
        customer.run(f"cat > new <<'@'\n{VASSAL % values}\n@\nmv new vassals/{name}.ini")
    deadline = time.monotonic() + SETTLED_SECONDS
    table = customer.bench.root / "run/insula/dominator/table.json"
    while sum(item["domain"] == domain for item in json.loads(table.read_text())) != len(apps):
        if time.monotonic() > deadline:
            raise SystemExit(f"{domain}: not announced within {SETTLED_SECONDS:.0f} s")
        time.sleep(0.1)
    time.sleep(1.0)


def _count(outcome: Outcome, visitors: Visitors, begun: Counter[str]) -> None:
    names = [loss.request.split()[1] for loss in visitors.losses]
    outcome.requests = visitors.count
    outcome.in_work = sum(name in begun for name in names)
    outcome.lost = len(names) - outcome.in_work
    outcome.twice = sum(times > 1 for times in begun.values())
    outcome.kinds = dict(Counter(loss.kind for loss in visitors.losses))
    times = sorted(visitors.seconds)
    outcome.p50_ms = round(times[len(times) // 2] * 1e3, 2)
    outcome.p99_ms = round(times[len(times) * 99 // 100] * 1e3, 2)
    outcome.max_ms = round(times[-1] * 1e3, 2)


def _print(outcome: Outcome, visitors: Visitors) -> None:
    print(
        f"{outcome.scenario:12} {outcome.events:5} events {outcome.requests:8} requests "
        f"{outcome.lost:5} lost {outcome.in_work:5} in work {outcome.twice:3} twice   "
        f"p50 {outcome.p50_ms} p99 {outcome.p99_ms} max {outcome.max_ms} ms   {outcome.kinds}",
        flush=True,
    )
    moments = Counter((round(loss.at, 1), loss.kind) for loss in visitors.losses)
    for (at, kind), count in sorted(moments.items())[:20]:
        moment = time.strftime("%H:%M:%S", time.localtime(at))
        print(f"    {moment}{at % 1:.1f}".replace("0.", ".", 1), f"{count} {kind}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--ssh-port", type=int, default=2222)
    parser.add_argument("--http-port", type=int, default=80)
    parser.add_argument(
        "--events", type=int, default=40, help="reloads; a fifth of it for the rest"
    )
    parser.add_argument("--pause", type=float, default=2.5, help="seconds between two events")
    parser.add_argument("--plain", type=int, default=4, help="visitors without keep-alive")
    parser.add_argument("--kept", type=int, default=4, help="visitors with keep-alive")
    parser.add_argument("--work", type=float, default=0.0, help="seconds an app takes to answer")
    parser.add_argument("--vassal-line", action="append", default=[], help="for the vassal file")
    parser.add_argument("--json", type=Path)
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS), metavar="SCENARIO",
                        help=f"some of: {', '.join(SCENARIOS)}")  # fmt: skip
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return options


if __name__ == "__main__":
    main()
