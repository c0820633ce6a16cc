"""Looks a machine and its node over: each finding with its remedy; changes nothing."""

import os
import re
import time
from pathlib import Path

from insula.emperor import check, credentials, lxcfs, next_start, service, status
from insula.emperor.check import Check
from insula.emperor.errors import PreparationError
from insula.emperor.isolation import last
from insula.emperor.kernel import firewall, mounts
from insula.emperor.settings import Node
from insula.emperor.storage import image
from insula.emperor.storage import pool as storage_pool

_ROUTE_TABLE = Path("/proc/net/route")
# Certificates and announcements carry times; no node was ever set up before this.
_EARLIEST_UNIX_SECONDS = 1_735_689_600
# systemd's own default is higher still. 512 MiB of memory hold about a million open files.
_MANY_FILES = 1 << 31


def before_start(node: Node) -> list[Check]:
    """What must hold before anything is made; the ports only while the node does not run."""
    found = [
        check.kernel(os.uname().release),
        check.namespaces(),
        check.system_calls(os.uname().machine),
        check.cgroups(node),
        check.network_features(),
        check.storage(node),
        check.network_clash(node, _ROUTE_TABLE.read_text()),
        check.reserved_uids(Path("/etc/passwd").read_text(), Path("/etc/group").read_text()),
        clock(time.time()),
        check.memory(),
        check.disk(node.paths.lib, needed=_needed_disk(node)),
    ]
    return found + check.ports(node)


def _needed_disk(node: Node) -> int:
    # What a first run needs it has, once the distro is there; then only room to work. While the
    # node is down the pool is not mounted, so its mark counts.
    distro = node.paths.distros / node.settings.default_distro
    if distro.exists() or node.paths.pool_marker.exists():
        return check.FREE_DISK_BYTES // 10
    return check.FREE_DISK_BYTES


def require(checks: list[Check]) -> None:
    """Raise PreparationError that names every failed check with its remedy."""
    failed = [item for item in checks if item.state == "fail"]
    if not failed:
        return
    lines = [f"{item.name}: {item.detail}" for item in failed]
    remedies = [f"{item.name}: {item.remedy}" for item in failed]
    raise PreparationError("; ".join(lines), "; ".join(remedies))


def doctor(node: Node) -> list[Check]:
    """Every check, those of a running node too."""
    running = service.emperor_pid(node.paths) is not None
    found = before_start(node)
    if running:
        # Its own ports are taken by itself, and that is what we want.
        found = [item for item in found if not item.name.endswith(" port")]
    found += [
        capability(Path("/proc/self/status").read_text()),
        ptrace_scope(Path("/proc/sys/kernel/yama/ptrace_scope")),
        open_files(Path("/proc/sys/fs/file-max")),
        secrets(node),
    ]
    if node.paths.node_toml.exists():
        found += [pool(node), own_figures(node, running=running), node_runs(node, running=running)]
        found += [connections(node)] if running else []
        found += [release(node), isolation(last.recall(node), os.uname().release)]
    return found


def clock(now: float) -> Check:
    if now < _EARLIEST_UNIX_SECONDS:
        return Check(
            "clock", "fail", f"it is {time.strftime('%Y-%m-%d', time.gmtime(now))} here",
            "set the clock: apt-get install systemd-timesyncd, or chrony",
        )  # fmt: skip
    return Check("clock", "ok", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))


def capability(process_status: str) -> Check:
    found = re.search(r"^CapEff:\s+([0-9a-f]+)", process_status, re.MULTILINE)
    if found is None or not int(found[1], 16) >> check.CAP_SYS_RESOURCE & 1:
        return Check(
            "CAP_SYS_RESOURCE", "warn", "root lacks it here",
            "limits of open files cannot be raised, nor the platform kept when memory runs out; "
            "give it to the machine's manager if you can",
        )  # fmt: skip
    return Check("CAP_SYS_RESOURCE", "ok", "root has it")


def ptrace_scope(path: Path) -> Check:
    """Inside a container all processes have one uid: yama keeps them from reading each other."""
    try:
        value = path.read_text().strip()
    except FileNotFoundError:
        return Check(
            "ptrace", "warn", "the kernel has no yama",
            "apps of one container can trace each other; other containers stay out of reach",
        )  # fmt: skip
    if value == "0":
        return Check("ptrace", "warn", "ptrace_scope is 0", "sysctl kernel.yama.ptrace_scope=1")
    return Check("ptrace", "ok", f"ptrace_scope is {value}")


def open_files(path: Path) -> Check:
    """All containers share the machine's table; a memory limit bounds each one's part of it."""
    value = int(path.read_text())
    if value < _MANY_FILES:
        return Check(
            "open files", "warn", f"fs.file-max is {value}: few containers can use up all",
            f"sysctl fs.file-max={_MANY_FILES}",
        )  # fmt: skip
    return Check("open files", "ok", f"fs.file-max is {value}")


def connections(node: Node) -> Check:
    """One container could fill the table in which the machine follows all connections."""
    if firewall.is_loaded(firewall.connections_table(node.nft_table)):
        return Check("connections", "ok", f"{firewall.CONNECTIONS} for each container")
    return Check(
        "connections", "warn", "the kernel does not count those of a container",
        "load nft_connlimit, then restart the node; or one container can fill nf_conntrack",
    )  # fmt: skip


def secrets(node: Node) -> Check:
    wrong = credentials.wrong_rights(node.paths)
    if wrong:
        return Check(
            "secrets", "fail", "; ".join(wrong),
            f"chmod 0400 {node.paths.secrets}/api-signing.pem, 0440 the others, and replace them: "
            "someone may have read them",
        )  # fmt: skip
    return Check("secrets", "ok", "only their owners can read them")


def pool(node: Node) -> Check:
    """Is the pool there, and does it have room?"""
    paths = node.paths
    if not paths.containers.is_dir():
        return Check("pool", "warn", f"{paths.pool} is not mounted", "bin/up starts the node")
    found = os.statvfs(paths.pool)
    free, size = found.f_bavail * found.f_frsize, max(found.f_blocks * found.f_frsize, 1)
    detail = f"{free / 1024**3:.1f} of {size / 1024**3:.1f} GiB free"
    if storage_pool.is_readonly(paths):
        return Check(
            "pool", "fail", f"{paths.pool} is read-only: a write has failed, dmesg says which",
            "free the disk or replace it, then `insula node down` and bin/up",
        )  # fmt: skip
    if free < size // 20:
        return Check("pool", "fail", detail, "destroy or purge containers, or enlarge pool.img")
    if paths.pool_image.exists() and (missing := image.unbacked_bytes(paths.pool_image)):
        return Check(
            "pool", "warn", f"{detail}; the disk still owes it {missing / 1024**3:.1f} GiB",
            f"keep that much free at {paths.lib}: a full disk would make every home read-only",
        )  # fmt: skip
    return Check("pool", "ok", detail)


def release(node: Node) -> Check:
    """Does all of the node run the release that was installed last?"""
    left = next_start.next_start(node)
    if left:
        return Check("release", "warn", left.sentence(), next_start.REMEDY)
    return Check("release", "ok", "nothing waits for the next start")


def isolation(run: last.Run | None, kernel: str) -> Check:
    """Did every wall between customers hold when it was tried last, and on this kernel?"""
    remedy = "insula node doctor --isolation; each night: bin/up --nightly-isolation"
    if run is None:
        return Check("isolation", "warn", "the walls were not tried on this node yet", remedy)
    day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.at))
    if run.failed:
        names = ", ".join(run.failed)
        return Check("isolation", "fail", f"on {day} these got through: {names}", remedy)
    if run.kernel != kernel:
        detail = f"last tried on {day} with Linux {run.kernel}"
        return Check("isolation", "warn", detail, remedy)
    return Check("isolation", "ok", f"{run.probes} attacks were held on {day}")


def own_figures(node: Node, *, running: bool) -> Check:
    """Without lxcfs `free` and `uptime` in a container show the machine's figures."""
    reason = lxcfs.lack()
    if not reason and running and not lxcfs.serves(node):
        reason = "lxcfs does not run"
    if reason:
        return Check(
            "lxcfs", "warn", f"{reason}: containers see the machine's memory, load and uptime",
            f"apt-get install lxcfs, modprobe fuse, then bin/up; see {service.log_place(node)}",
        )  # fmt: skip
    return Check("lxcfs", "ok", "containers see their own memory, load and uptime")


def node_runs(node: Node, *, running: bool) -> Check:
    if not running:
        left = [path for path in mounts.points() if path.is_relative_to(node.paths.run)]
        detail = "the root Emperor does not run"
        detail += f", but {len(left)} mounts are left" if left else ""
        return Check("node", "warn", detail, "bin/up starts it; `insula node down` tidies up")
    if not status.api_answers(node):
        return Check("node", "fail", "the API does not answer", "insula logs 30000")
    if not service.has_systemd() and service.supervisor_pid(node.paths) is None:
        return Check(
            "node", "fail", "the supervisor does not run: nobody starts the root Emperor again",
            "at a quiet moment, since everything starts anew: insula node down; bin/up",
        )  # fmt: skip
    return Check("node", "ok", "the root Emperor runs, the API answers")
