"""What a machine must have for a node: each check finds one thing and names its remedy."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

from insula.emperor.errors import KernelError
from insula.emperor.kernel import cgroup, firewall
from insula.emperor.seccomp.program import MACHINES
from insula.emperor.settings import COLLECTOR_UID, NODE_GID, Node
from insula.vassals.identity import UID_BASE, UID_LAST

State = Literal["ok", "warn", "fail"]

# setns() with a pidfd is of 5.8, mounts that follow no link are of 5.10; openat2 is older.
KERNEL_NEEDED = (5, 10)
# btrfs has simple quotas, which count a subvolume that a customer makes to its container.
SIMPLE_QUOTAS = (6, 7)
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
FREE_DISK_BYTES = 3 * 1024**3
FREE_MEMORY_BYTES = 512 * 1024**2
CAP_SYS_RESOURCE = 24
_PRIVATE = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "192.168.0.0/16")
)
_TRY_NETWORK = (
    "from pyroute2 import IPRoute\n"
    "with IPRoute() as ip: ip.link('add', ifname='a', kind='veth', peer={'ifname': 'b'})\n"
)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; ``remedy`` is empty when all is well."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def kernel(release: str) -> Check:
    """The release, for pidfd, openat2 and mounts without links."""
    wanted = ".".join(map(str, KERNEL_NEEDED))
    if _version(release) < KERNEL_NEEDED:
        return Check("kernel", "fail", f"Linux {release}", f"boot a kernel of {wanted} or newer")
    return Check("kernel", "ok", f"Linux {release}")


def _version(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def namespaces(directory: Path = Path("/proc/self/ns")) -> Check:
    missing = [name for name in NAMESPACES if not (directory / name).exists()]
    if missing:
        return Check(
            "namespaces", "fail", f"the kernel has no {', '.join(missing)} namespaces",
            "boot a distribution kernel; inside a container, run the node outside of it",
        )  # fmt: skip
    return Check("namespaces", "ok", ", ".join(NAMESPACES))


def system_calls(
    machine: str, actions: Path = Path("/proc/sys/kernel/seccomp/actions_avail")
) -> Check:
    """No container starts without its filter, so the kernel and our table must know it."""
    if machine not in MACHINES:
        return Check(
            "system calls", "fail", f"there is no filter for {machine}",
            f"run the node on {' or '.join(MACHINES)}",
        )  # fmt: skip
    if not actions.exists():
        return Check(
            "system calls", "fail", "the kernel cannot filter them",
            "boot a kernel with CONFIG_SECCOMP_FILTER",
        )  # fmt: skip
    return Check("system calls", "ok", f"filtered, {machine}")


def cgroups(node: Node) -> Check:
    try:
        found = cgroup.detect(node.cgroup_name)
    except KernelError as error:
        return Check("cgroups", "fail", error.message, error.hint or "")
    return Check("cgroups", "ok", f"version {found.version}")


def network_features() -> Check:
    """Really make a namespace, a veth pair and a firewall table; they end with the child."""
    tries = {
        "a veth pair": [sys.executable, "-c", _TRY_NETWORK],
        # what the node will load, or it would come up without one container
        "firewall": ["nft", "-f", "-"],
    }
    rules = firewall.ruleset(
        table="t", prefix="t", network=IPv4Network("10.0.0.0/16"), gateway=IPv4Address("10.0.0.1")
    )
    for name, argv in tries.items():
        try:
            done = subprocess.run(
                ["unshare", "--net", "--", *argv],
                input=rules, capture_output=True, text=True, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            return Check("network", "fail", f"{error.filename} is missing", "run bin/up")
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            # nft shows the rule below its reason, Python the call above it
            said = next((line for line in reversed(lines) if "Error" in line), lines[-1])
            return Check(
                "network", "fail", f"the kernel makes no {name}: {said}",
                "modprobe veth nf_tables nft_chain_nat nft_masq nft_ct nft_fib_inet; "
                "root needs CAP_NET_ADMIN",
            )  # fmt: skip
    return Check("network", "ok", "network namespaces, veth, nftables with NAT")


def storage(node: Node, filesystems: Path = Path("/proc/filesystems")) -> Check:
    if node.settings.storage == "dir":
        return Check(
            "storage", "warn", "driver dir: homes have no disk limit",
            'set storage = "btrfs" in node.toml before the first container',
        )  # fmt: skip
    names = {line.split()[-1] for line in filesystems.read_text().splitlines()}
    if (
        "btrfs" not in names
        and subprocess.run(
            ["modprobe", "--quiet", "btrfs"], check=False, capture_output=True
        ).returncode
    ):
        return Check(
            "storage", "fail", "the kernel has no btrfs",
            'boot a kernel with btrfs, or set storage = "dir" (no disk limits)',
        )  # fmt: skip
    if not Path("/dev/loop-control").exists():
        return Check("storage", "fail", "there is no /dev/loop-control", "modprobe loop")
    return disk_limits(os.uname().release)


def disk_limits(release: str) -> Check:
    """Does the limit hold for whatever a customer makes in its home?"""
    if _version(release) < SIMPLE_QUOTAS:
        return Check(
            "storage", "ok",
            "btrfs; subvolumes count for nobody here, the system call filter refuses to make them",
        )  # fmt: skip
    return Check("storage", "ok", "btrfs")


def disk(path: Path, *, needed: int = FREE_DISK_BYTES) -> Check:
    place = next(item for item in (path, *path.parents) if item.exists())
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        return Check(
            "disk", "fail", f"{place} has {free / 1024**3:.1f} GiB free, "
            f"{needed / 1024**3:.1f} are needed", "free some space, or give --root on another disk",
        )  # fmt: skip
    return Check("disk", "ok", f"{free / 1024**3:.0f} GiB free at {place}")


def memory(meminfo: Path = Path("/proc/meminfo")) -> Check:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    available = int(found[1]) * 1024 if found else 0
    if available < FREE_MEMORY_BYTES:
        return Check(
            "memory", "fail", f"{available >> 20} MiB are available, "
            f"{FREE_MEMORY_BYTES >> 20} are needed", "end other programs or give the machine more",
        )  # fmt: skip
    return Check("memory", "ok", f"{available >> 20} MiB available")


def ports(node: Node) -> list[Check]:
    """Whether the three ports are free; only sensible while the node does not run."""
    wanted = {
        "http": node.settings.http_port, "https": node.settings.https_port,
        "ssh": node.settings.ssh_port,
    }  # fmt: skip
    return [_port(kind, number) for kind, number in wanted.items()]


def _port(kind: str, number: int) -> Check:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("0.0.0.0", number))
            one.listen(1)
        except OSError as error:
            return Check(
                f"{kind} port", "fail", f"port {number}: {error.strerror}",
                f"`ss -ltnp sport = :{number}` names its user; or give --{kind}-port",
            )  # fmt: skip
    return Check(f"{kind} port", "ok", f"{number} is free")


def network_clash(node: Node, route_table: str) -> Check:
    """No route of the machine (/proc/net/route) may lie in the containers' network."""
    wanted = node.settings.ip_network
    taken = list(routes(route_table, but=node.link_prefix))
    free = free_network(network for _, network in taken)
    for interface, network in taken:
        if network.overlaps(wanted):
            return Check(
                "network range", "fail",
                f"the containers' {wanted} overlaps {network} of {interface}",
                f"give --network {free or 'another range'}",
            )  # fmt: skip
    return Check("network range", "ok", str(wanted))


def routes(table: str, *, but: str) -> Iterable[tuple[str, IPv4Network]]:
    """(interface, network) of every route but the default ones and the node's own."""
    for line in table.splitlines()[1:]:
        words = line.split()
        # Little-endian hexadecimal on the machines that we run on (proc_net(5)).
        address, mask = (bytes.fromhex(words[i])[::-1] for i in (1, 7))
        network = IPv4Network((address, str(IPv4Network((mask, 32)).network_address)))
        if network.prefixlen and not words[0].startswith(but):
            yield words[0], network


def free_network(taken: Iterable[IPv4Network]) -> IPv4Network | None:
    """A private /16 that overlaps none of the taken ones."""
    used = list(taken)
    for block in _PRIVATE:
        # From the end: the low ranges are what other programs choose first.
        for candidate in reversed(list(block.subnets(new_prefix=max(16, block.prefixlen)))):
            if not any(candidate.overlaps(item) for item in used):
                return candidate
    return None


def reserved_uids(passwd: str, group: str) -> Check:
    """The platform's numbers and the containers' range must be nobody else's."""
    numbers = {*range(NODE_GID, COLLECTOR_UID + 1), *range(UID_BASE, UID_LAST + 1)}
    clashes = [
        f"{words[0]} ({words[2]})"
        for words in (line.split(":") for line in (passwd + group).splitlines())
        if len(words) > 2 and words[2].isdecimal() and int(words[2]) in numbers
    ]
    if clashes:
        return Check(
            "accounts", "fail", f"{', '.join(clashes[:5])} lie in the platform's range",
            f"give them a number outside {NODE_GID}-{COLLECTOR_UID} and {UID_BASE}-{UID_LAST}",
        )  # fmt: skip
    return Check("accounts", "ok", f"{UID_BASE}-{UID_LAST} are free")
