"""A container's network: a namespace of its own and one routed veth pair to the host.

Routed /32 addresses instead of a bridge: a Linux bridge ends at 1,023 ports and would let
containers see each other's frames. All of it lives outside the container's processes, so it
survives their restarts and is joined at boot.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from insula.emperor.errors import KernelError
from insula.emperor.kernel import libc, mounts
from insula.vassals import identity

INSIDE = "eth0"
_FULL_MASK = "FFFFFFFF"
# how long a link may outlive its namespace before it is removed by itself
_RELEASE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Network:
    """The node's container networks; ``directory`` holds one namespace file a uid."""

    link_prefix: str
    network: IPv4Network
    directory: Path
    proc: Path = Path("/proc")

    def prepare(self) -> None:
        """Let the machine forward packets; without it no container reaches the outside."""
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        _sysctl(self.proc, "net/ipv4/ip_forward", "1")

    def link(self, uid: int) -> str:
        """The host side's name."""
        return f"{self.link_prefix}{uid}"

    def address(self, uid: int) -> IPv4Address:
        return identity.address_of(uid, self.network)

    def namespace(self, uid: int) -> Path:
        return self.directory / str(uid)

    def ready(self, uids: Iterable[int]) -> set[int]:
        """Those whose network is whole: the host's route, which ``ensure`` sets last, is there."""
        routes = _host_routes(self.proc)
        namespaces = os.stat(self.proc / "self/ns/net").st_dev
        return {
            uid
            for uid in uids
            if (self.link(uid), self.address(uid)) in routes
            and _device(self.namespace(uid)) == namespaces
        }

    def ensure(self, uid: int) -> bool:
        """Make or repair the network of one container; False when it was whole.

        A namespace that is there is kept: the container's processes live in it. Raises KernelError.
        """
        if self.ready([uid]):
            return False
        self._remove_link(uid)
        if _device(self.namespace(uid)) != os.stat(self.proc / "self/ns/net").st_dev:
            _in_thread(lambda: self._make_namespace(uid))
        fd = os.open(self.namespace(uid), os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._make_link(uid, fd)
        finally:
            os.close(fd)
        return True

    def remove(self, uid: int) -> None:
        """Take link and namespace away; what is not there counts as removed."""
        self._remove_link(uid)
        self._remove_namespace(uid)

    def release(self) -> None:
        """Remove the network of every container of this node."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                self._remove_namespace(int(path.name))
        # With its namespace a link goes by itself, and the kernel takes many in one go; removed one
        # by one each costs 50 ms.
        deadline = time.monotonic() + _RELEASE_SECONDS
        while self._links() and time.monotonic() < deadline:
            time.sleep(0.02)
        for uid in self._links():
            self._remove_link(uid)

    def _links(self) -> list[int]:
        numbers = [
            name.removeprefix(self.link_prefix)
            for _, name in socket.if_nameindex()
            if name.startswith(self.link_prefix)
        ]
        return [int(number) for number in numbers if number.isdecimal()]

    def _remove_namespace(self, uid: int) -> None:
        path = self.namespace(uid)
        if _device(path) == os.stat(self.proc / "self/ns/net").st_dev:
            mounts.unmount(path, lazy=True)
        path.unlink(missing_ok=True)

    def _make_namespace(self, uid: int) -> None:
        # Runs in a thread of its own: a network namespace belongs to a thread, and this one ends.
        path = self.namespace(uid)
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.touch(mode=0o444)
        libc.call("unshare", libc.CLONE_NEWNET, about=f"making a network namespace for {uid}")
        # Before eth0 exists, so that it never has an IPv6 address.
        for name in ("all", "default"):
            with suppress(KernelError):  # a kernel without IPv6 has no such file
                _sysctl(self.proc, f"net/ipv6/conf/{name}/disable_ipv6", "1")
        # Without capabilities this is the only way to send a ping.
        _sysctl(self.proc, "net/ipv4/ping_group_range", "0 2147483647")
        mounts.bind(f"{self.proc}/thread-self/ns/net", path)

    def _make_link(self, uid: int, namespace: int) -> None:
        name, gateway = self.link(uid), str(identity.gateway_of(self.network))
        peer = {"ifname": INSIDE, "net_ns_fd": namespace}
        with _netlink(f"network of {uid}") as host:
            host.link("add", ifname=name, kind="veth", peer=peer)
            index = socket.if_nametoindex(name)
            for setting, value in (("ipv4/conf", "rp_filter=1"), ("ipv6/conf", "disable_ipv6=1")):
                key, _, number = value.partition("=")
                with suppress(KernelError):
                    _sysctl(self.proc, f"net/{setting}/{name}/{key}", number)
            _in_thread(lambda: self._configure_inside(uid, namespace))
            host.link("set", index=index, state="up")
            host.addr("add", index=index, address=gateway, prefixlen=32)
            host.route("add", dst=f"{self.address(uid)}/32", oif=index, scope="link")

    def _configure_inside(self, uid: int, namespace: int) -> None:
        libc.call("setns", namespace, libc.CLONE_NEWNET, about=f"entering the network of {uid}")
        with _netlink(f"network inside {uid}") as inside:
            inside.link("set", index=1, state="up")
            index = socket.if_nametoindex(INSIDE)
            inside.addr("add", index=index, address=str(self.address(uid)), prefixlen=32)
            inside.link("set", index=index, state="up")
            # onlink: the next hop lies in no subnet of a /32 address.
            gateway = str(identity.gateway_of(self.network))
            inside.route("add", dst="default", gateway=gateway, oif=index, flags=["onlink"])

    def _remove_link(self, uid: int) -> None:
        try:
            index = socket.if_nametoindex(self.link(uid))
        except OSError:
            return
        with _netlink(f"removing {self.link(uid)}") as host:
            host.link("del", index=index)


class _netlink:
    """An open pyroute2 socket of the calling thread's namespace; its errors become KernelError."""

    def __init__(self, about: str) -> None:
        self.about = about

    def __enter__(self) -> Any:
        # Imported late: 20 MiB that a daemon with nothing to change need not carry.
        from pyroute2 import IPRoute

        self.socket = IPRoute()
        return self.socket

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        self.socket.close()
        if isinstance(error, NetlinkError | OSError):
            raise KernelError(
                f"{self.about}: {error}", "the kernel needs veth, and no other link of this name"
            ) from error


def _in_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in a thread of its own and raise here what it raises there."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # handed over to the caller
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _host_routes(proc: Path) -> set[tuple[str, IPv4Address]]:
    found: set[tuple[str, IPv4Address]] = set()
    for line in (proc / "net/route").read_text().splitlines()[1:]:
        words = line.split()
        if words[7] == _FULL_MASK:
            # The kernel prints the address in the machine's byte order.
            found.add((words[0], IPv4Address(struct.pack("=I", int(words[1], 16)))))
    return found


def _device(path: Path) -> int | None:
    try:
        return os.stat(path, follow_symlinks=False).st_dev
    except FileNotFoundError:
        return None


def _sysctl(proc: Path, name: str, value: str) -> None:
    path = proc / "sys" / name
    try:
        if path.read_text().split() != value.split():
            path.write_text(value)
    except OSError as error:
        raise KernelError(f"setting {name.replace('/', '.')}: {error.strerror}") from error
