"""Attacks in somebody else's name: others' addresses and routes, forged packets, odd sockets."""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from functools import partial
from ipaddress import IPv4Address

from insula.emperor.isolation.attacks import packets
from insula.emperor.isolation.attacks.contract import Held, Targets, any_of, attack
from insula.emperor.isolation.attacks.network import nonce, reached, sent

_IP_TRANSPARENT, _IP_FREEBIND = 19, 15


@attack
def take_neighbours_address(targets: Targets) -> str:
    """Once by netlink, once by ioctl, both for an interface that nobody has.

    The kernel asks for the right before it looks for the interface: "no such device" means that it
    would have done it, and that nothing was changed.
    """
    address = socket.inet_aton(targets.neighbour.ip)
    new_address, local, whole = 20, 2, 1
    body = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, packets.NO_DEVICE)
    body += packets.attribute(local, address) + packets.attribute(whole, address)
    return any_of([partial(_is_permitted, new_address, body), partial(_set_by_ioctl, address)])


@attack
def change_routes(targets: Targets) -> str:
    """Routes, neighbours' hardware addresses and links, of interfaces that nobody has."""
    address = socket.inet_aton(targets.neighbour.ip)
    new_route, new_neighbour, set_link = 24, 28, 19
    destination, via = 1, 4
    route = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 4, 253, 1, 0)
    route += packets.attribute(destination, address)
    route += packets.attribute(via, struct.pack("=I", packets.NO_DEVICE))
    neighbour = struct.pack("=BxHiHBB", socket.AF_INET, 0, packets.NO_DEVICE, 2, 0, 0)
    neighbour += packets.attribute(destination, address)
    link = struct.pack("=BxHiII", 0, 0, packets.NO_DEVICE, 0, 0)
    return any_of([
        partial(_is_permitted, new_route, route),
        partial(_is_permitted, new_neighbour, neighbour),
        partial(_is_permitted, set_link, link),
    ])  # fmt: skip


@attack
def send_as_another(targets: Targets) -> str:
    """Datagrams to the neighbour with the address of the platform's own container.

    The neighbour tells whoever asks from where it was written to.
    """
    word = nonce()
    source = str(IPv4Address(targets.machine.gateway) + 1)
    address = (targets.neighbour.ip, targets.neighbour.port)
    refusals = []
    for send in (_send_raw, _send_transparent, _send_from_free_address):
        try:
            send(source, address, word)
        except OSError as error:
            refusals.append(str(error))
    if len(refusals) == 3:
        raise Held("; ".join(dict.fromkeys(refusals)))
    return reached({"who": sent(address, b"who")}, "the neighbour", holds=word)


@attack
def open_raw_socket(_targets: Targets) -> str:
    """Sockets that read all packets or write any."""
    packet, all_protocols = 17, socket.htons(3)
    kinds = [
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
        (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
        (packet, socket.SOCK_RAW, all_protocols), (packet, socket.SOCK_DGRAM, all_protocols),
        (packet, 10, all_protocols), (socket.AF_INET, 10, all_protocols),  # SOCK_PACKET
    ]  # fmt: skip
    return any_of([partial(_open_socket, *kind) for kind in kinds])


@attack
def attach_socket_filter(_targets: Targets) -> str:
    """One filter of one instruction; thousands of long ones would do the harm."""
    # struct sock_filter: return 0; struct sock_fprog
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(code))
    # SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_CBPF
    return any_of([partial(_attach, option, program) for option in (26, 51)])


def _attach(option: int, program: bytes) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as item:
        item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        item.setsockopt(socket.SOL_SOCKET, option, program)
    return f"a filter by socket option {option}"


@attack
def open_odd_socket(_targets: Targets) -> str:
    """Families and protocols that few review; netlink's first, which load no module."""
    netlink = [(socket.AF_NETLINK, socket.SOCK_RAW, number) for number in (16, 4, 6, 12, 21, 11)]
    # MPTCP, UDP-Lite, SCTP, DCCP
    protocols = [
        (socket.AF_INET, socket.SOCK_STREAM, 262), (socket.AF_INET, socket.SOCK_DGRAM, 136),
        (socket.AF_INET, socket.SOCK_STREAM, 132), (socket.AF_INET, 6, 33),
    ]  # fmt: skip
    # AF_ALG, VSOCK, KEY, CAN, RDS, TIPC, SMC, XDP, KCM, QIPCRTR, BLUETOOTH, PPPOX, NFC, X25, LLC
    families = (38, 40, 15, 29, 21, 30, 43, 44, 41, 42, 31, 24, 39, 9, 26)
    odd = [
        (family, kind, 0)
        for family in families
        for kind in (socket.SOCK_SEQPACKET, socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_RAW)
    ]
    return any_of([partial(_open_socket, *item) for item in netlink + protocols + odd])


@attack
def hear_kernel_events(_targets: Targets) -> str:
    """Every network namespace is told of the machine's devices, whoever listens."""
    kernel_events, first_group = 15, 1
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, kernel_events) as events:
        events.bind((0, first_group))
    return "we listen"


@attack
def read_firewall(_targets: Targets) -> str:
    """The names of the machine's tables; who reads them may change them, the right is the same."""
    netfilter, get_table = 12, (10 << 8) | 1
    answer = packets.dump(get_table, struct.pack("!BBH", 0, 0, 0), netfilter)
    if b"insula" not in answer:
        raise Held("the tables in sight are not the machine's")
    return "the node's table is in sight"


def _is_permitted(kind: int, body: bytes) -> str:
    try:
        packets.tell_kernel(kind, body)
    except OSError as error:
        if error.errno not in (errno.ENODEV, errno.EINVAL, errno.ENXIO):
            raise
        return f"the kernel would have done it: {error.strerror}"
    return "the kernel did it"


def _set_by_ioctl(address: bytes) -> str:
    set_address = 0x8916
    request = struct.pack("=16sHH4s8x", b"nobody0", socket.AF_INET, 0, address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as item:
        try:
            fcntl.ioctl(item, set_address, request)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
    return "the kernel looked for the interface"


def _send_raw(source: str, address: tuple[str, int], payload: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as item:
        item.sendto(packets.udp_packet(source, *address, payload), (address[0], 0))


def _send_transparent(source: str, address: tuple[str, int], payload: bytes) -> None:
    _send_bound(_IP_TRANSPARENT, source, address, payload)


def _send_from_free_address(source: str, address: tuple[str, int], payload: bytes) -> None:
    _send_bound(_IP_FREEBIND, source, address, payload)


def _send_bound(option: int, source: str, address: tuple[str, int], payload: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as item:
        item.setsockopt(socket.IPPROTO_IP, option, 1)
        item.bind((source, 0))
        item.sendto(payload, address)


def _open_socket(family: int, kind: int, protocol: int) -> str:
    os.close(socket.socket(family, kind, protocol).detach())
    return f"family {family}, kind {kind}, protocol {protocol}"
