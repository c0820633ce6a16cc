"""Container networks and the firewall as packets see them."""

import errno
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from insula.configurator.reconcile import kernel_of
from insula.emperor.isolation.traps.starving import connections_of
from insula.emperor.kernel import firewall, libc
from insula.emperor.kernel.network import Network
from insula.emperor.settings import Node
from tests.kernel.machine import fresh_node
from tests.patience import BUSY

pytestmark = pytest.mark.kernel


@pytest.fixture
def node() -> Iterator[Node]:
    with fresh_node("dir") as found:
        firewall.load(table_of(found))
        yield found


@pytest.fixture
def network(node: Node) -> Network:
    found = kernel_of(node).network
    found.prepare()
    for uid in (30000, 30001, 30002):
        found.ensure(uid)
    return found


def table_of(node: Node) -> str:
    return firewall.ruleset(
        table=node.nft_table,
        prefix=node.link_prefix,
        network=node.settings.ip_network,
        gateway=node.settings.gateway,
    )


def inside(network: Network, uid: int, work: Callable[[], bool]) -> bool:
    """What ``work`` answers when it runs in a container's network."""
    child = os.fork()
    if child == 0:
        answer = 2
        try:
            fd = os.open(network.namespace(uid), os.O_RDONLY)
            libc.call("setns", fd, libc.CLONE_NEWNET, about="entering a network")
            answer = 0 if work() else 1
        finally:
            os._exit(answer)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1)
    return status == 0


def connects(address: str, port: int) -> Callable[[], bool]:
    def work() -> bool:
        with socket.socket() as client:
            client.settimeout(0.5)
            return client.connect_ex((address, port)) == 0

    return work


def listening(network: Network, uid: int | None) -> tuple[socket.socket, int]:
    """A TCP server in a container's network, or on the host."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if uid is not None:
            fd = os.open(network.namespace(uid), os.O_RDONLY)
            libc.call("setns", fd, libc.CLONE_NEWNET, about="entering a network")
            os.close(fd)
        server = socket.create_server(("0.0.0.0", 0))
    finally:
        libc.call("setns", own, libc.CLONE_NEWNET, about="going back")
        os.close(own)
    return server, server.getsockname()[1]


def pings(address: str, source: str | None = None) -> Callable[[], bool]:
    def work() -> bool:
        kind = socket.SOCK_DGRAM if source is None else socket.SOCK_RAW
        with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as client:
            client.settimeout(0.5)
            client.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0), (address, 0))
            try:
                return bool(client.recv(100))
            except TimeoutError:
                return False

    return work


def test_the_host_reaches_a_container(network: Network) -> None:
    server, port = listening(network, 30001)
    with server:
        assert connects(str(network.address(30001)), port)()


def test_a_container_does_not_reach_another_one(network: Network) -> None:
    server, port = listening(network, 30001)
    with server:
        address = str(network.address(30001))
        assert not inside(network, 30002, connects(address, port))
        # The API's container is closed to customers like any other.
        assert not inside(network, 30000, connects(address, port))


def test_a_container_reaches_no_port_of_the_host(network: Network, node: Node) -> None:
    server, port = listening(network, None)
    with server:
        assert connects("127.0.0.1", port)()
        for address in (str(node.settings.gateway), host_address()):
            assert not inside(network, 30001, connects(address, port))


def test_a_container_may_ping_its_gateway(network: Network, node: Node) -> None:
    assert inside(network, 30001, pings(str(node.settings.gateway)))


def test_a_container_that_takes_another_address_is_not_heard(network: Network, node: Node) -> None:
    def spoofed() -> bool:
        from pyroute2 import IPRoute

        with IPRoute() as route:
            index = socket.if_nametoindex("eth0")
            route.addr("add", index=index, address=str(network.address(30002)), prefixlen=32)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as client:
            client.bind((str(network.address(30002)), 0))
            client.settimeout(0.5)
            client.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 0), (str(node.settings.gateway), 0))
            try:
                return bool(client.recv(100))
            except TimeoutError:
                return False

    assert not inside(network, 30001, spoofed)


def followed(uid: int, network: Network, target: str) -> int:
    """Connections of a container to an address; skips on a kernel that names none."""
    try:
        return connections_of(str(network.address(uid)), target)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip("this kernel has no nf_conntrack_netlink")


def test_a_container_holds_so_many_connections_and_another_one_its_own(
    network: Network, node: Node
) -> None:
    assert firewall.limit_connections(table=node.nft_table, prefix=node.link_prefix, most=8)

    # the kernel remembers those of a run before this one for half a minute
    target = f"198.51.100.{secrets.randbelow(250) + 1}"

    def ask_many() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for port in range(1, 33):
                client.sendto(b"?", (target, port))
        return True

    for uid in (30001, 30002):
        assert inside(network, uid, ask_many)
    # The kernel counts a few less than there are while they come all at once.
    found = [followed(uid, network, target) for uid in (30000, 30001, 30002)]
    assert found[0] == 0
    assert all(8 <= count < 16 for count in found[1:])
    # A second call keeps the table with what it has counted.
    assert firewall.limit_connections(table=node.nft_table, prefix=node.link_prefix, most=1000)
    assert inside(network, 30001, ask_many)
    assert followed(30001, network, target) < 24


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "100.100.100.200"])
def test_a_clouds_metadata_service_is_its_resolver_alone(network: Network, address: str) -> None:
    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for port in (80, 53, 32526):
                client.sendto(b"?", (address, port))
        return True

    # What leaves the machine is followed, what was dropped is not. A run before this one leaves
    # its own for half a minute.
    count = followed(30001, network, address)
    assert inside(network, 30001, ask)
    assert followed(30001, network, address) == count + 1


def test_a_container_has_no_ipv6(network: Network) -> None:
    def work() -> bool:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6") as file:
            return file.read().strip() == "1"

    assert inside(network, 30001, work)


def test_a_second_call_changes_nothing_and_is_quick(network: Network) -> None:
    before = socket.if_nametoindex(network.link(30001))
    started = time.perf_counter()
    changed = [network.ensure(30001) for _ in range(10)]
    assert (time.perf_counter() - started) / 10 < 0.01 * BUSY
    assert not any(changed)
    assert socket.if_nametoindex(network.link(30001)) == before


def test_a_lost_link_is_repaired_inside_the_same_namespace(network: Network) -> None:
    before = network.namespace(30001).stat().st_ino
    network._remove_link(30001)
    assert network.ready([30001]) == set()
    assert network.ensure(30001)
    assert network.namespace(30001).stat().st_ino == before
    assert inside(network, 30001, pings("10.213.0.1"))


def test_removing_takes_link_and_namespace_away(network: Network) -> None:
    network.remove(30001)
    network.remove(30001)
    assert not network.namespace(30001).exists()
    assert network.link(30001) not in [name for _, name in socket.if_nameindex()]


def host_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])
