"""Watches a container through a boot: on which build it runs, and that its domains are back."""

import time
from pathlib import Path

from insula.emperor.daemon import trace
from insula.emperor.distros.builds import Build
from insula.emperor.errors import KernelError
from insula.emperor.kernel import cgroup
from insula.emperor.kernel.beneath import hold
from insula.emperor.settings import Node
from insula.emperor.statistics import subscriptions_of
from insula.vassals.spec import ContainerSpec

_STEP_SECONDS = 0.05
_LOG_BYTES, _LOG_LINES = 4096, 8


def running_on(node: Node, spec: ContainerSpec) -> Build | None:
    """The build on which a container's first process really stands; None while none lives."""
    pid = cgroup.detect(node.cgroup_name).first_process(spec.customer_id, spec.uid)
    root = _root_of(pid) if pid is not None else ""
    if not root.startswith("/") or "distros/" not in root:
        return None
    name = Path(root).name
    return Build.parse(name) or Build(name, 0)


def _root_of(pid: int) -> str:
    """Which directory of its file system a process has as its root, under its name of now."""
    try:
        lines = Path("/proc", str(pid), "mountinfo").read_text().splitlines()
    except OSError:
        return ""
    roots = [fields[3] for line in lines if (fields := line.split(" "))[4] == "/"]
    return roots[-1] if roots else ""


def announced(node: Node, uid: int) -> dict[str, int]:
    """The domains whose requests the router gives to a container, and when it last heard so."""
    mine = f"{node.paths.apps}/{uid}/"
    found: dict[str, int] = {}
    for domain, address, checked_at in subscriptions_of(node.paths.router_stats / "stats.sock"):
        if address.startswith(mine):
            found[domain] = max(found.get(domain, 0), checked_at)
    return found


def wait_until_back(
    node: Node, spec: ContainerSpec, build: Build, domains: frozenset[str], *, since: float,
    seconds: float,
) -> str:  # fmt: skip
    """Wait until a container runs on a build and its domains are announced again.

    ``since`` is when it was told to boot (unix seconds). Returns an empty text, or what was still
    missing after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while missing := _missing(node, spec, build, domains, since=since):
        if time.monotonic() > deadline:
            return f"{missing}, {seconds:.0f} s after it was told to boot"
        time.sleep(_STEP_SECONDS)
    return ""


def _missing(
    node: Node, spec: ContainerSpec, build: Build, domains: frozenset[str], *, since: float
) -> str:
    if running_on(node, spec) != build:
        return "its sub-Emperor is not up"
    steps = [step for step in trace.read(node.paths, spec.uid) if step.at >= since]
    ups = [step.at for step in steps if step.step == "sub-emperor-up"]
    if not ups:
        return "its sub-Emperor is not up"
    back = {step.detail for step in steps if step.step == "announced" and step.at >= ups[-1]}
    if domains <= back:
        return ""
    # An app that was killed has left its route behind: only what the router heard since counts.
    back |= {name for name, at in announced(node, spec.uid).items() if at > ups[-1]}
    left = sorted(domains - back)
    return f"nobody announces {', '.join(left)}" if left else ""


def last_lines(node: Node, uid: int) -> list[str]:
    """The end of a container's own log, made printable; root follows no link to it."""
    try:
        with hold(node.paths.containers, str(uid)) as container:
            data = container.read_end("home/logs/emperor.log", _LOG_BYTES, owner=uid)
    except (KernelError, OSError):
        return []
    text = data.decode(errors="replace")
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return plain.splitlines()[-_LOG_LINES:]
