"""Packets and netlink messages as bytes, and waiting for the first answer on many sockets."""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

ECHO, ECHO_V6 = 8, 128
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ROUTES: Final = 0  # NETLINK_ROUTE
NO_DEVICE = 0x7FFFFFF0  # no interface has this number

Sockets = dict[str, socket.socket]


def first_answer(
    sockets: Sockets, *, seconds: float, counts: Callable[[bytes | OSError], bool]
) -> str | None:
    """The name of the first socket that answers so that ``counts``; None when the time is over.

    Closes all of them.
    """
    waiting = {item.fileno(): name for name, item in sockets.items() if item.fileno() >= 0}
    deadline = time.monotonic() + seconds
    try:
        while waiting and (left := deadline - time.monotonic()) > 0:
            for fd, name in _readable(list(waiting), left, waiting):
                if counts(_answer(sockets[name])):
                    return name
                if sockets[name].type == socket.SOCK_STREAM:
                    del waiting[fd]
    finally:
        for item in sockets.values():
            item.close()
    return None


def first_connection(sockets: Sockets, *, seconds: float, refusals: bool) -> str | None:
    """The name of the first that is connected; with ``refusals`` also of one that is refused.

    Whoever refuses was reached. None when the time is over. Closes all of them.
    """
    chooser = select.poll()
    names = {item.fileno(): name for name, item in sockets.items()}
    for fd in names:
        chooser.register(fd, select.POLLOUT)
    deadline = time.monotonic() + seconds
    try:
        while names and (left := deadline - time.monotonic()) > 0:
            for fd, _ in chooser.poll(left * 1000):
                chooser.unregister(fd)
                name = names.pop(fd)
                number = sockets[name].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number == 0:
                    return name
                if refusals and number == errno.ECONNREFUSED:
                    return f"{name}, a refusal"
    finally:
        for item in sockets.values():
            item.close()
    return None


def _readable(fds: list[int], seconds: float, names: dict[int, str]) -> list[tuple[int, str]]:
    chooser = select.poll()
    for fd in fds:
        chooser.register(fd, select.POLLIN)
    return [(fd, names[fd]) for fd, _ in chooser.poll(seconds * 1000)]


def _answer(item: socket.socket) -> bytes | OSError:
    try:
        return item.recv(4096)
    except OSError as error:
        return error


def connecting(address: tuple[str, int], family: int = socket.AF_INET) -> socket.socket:
    """A TCP socket on its way; raises OSError when the kernel knows no way."""
    item = socket.socket(family, socket.SOCK_STREAM)
    start(item, address)
    return item


def start(item: socket.socket, address: tuple[str, int]) -> None:
    """Let a socket connect without waiting for it."""
    item.setblocking(False)
    number = item.connect_ex(address)
    if number not in (0, errno.EINPROGRESS):
        item.close()
        raise OSError(number, os.strerror(number))


def echo_request(kind: int, payload: bytes) -> bytes:
    """An ICMP or ICMPv6 echo request; kernel or checksum() completes it."""
    head = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, 1)
    if kind == ECHO:
        head = struct.pack("!BBHHH", kind, 0, checksum(head + payload), os.getpid() & 0xFFFF, 1)
    return head + payload


def ping_socket(family: int) -> socket.socket:
    """What may send pings: without rights where the network allows it, else raw."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    try:
        return socket.socket(family, socket.SOCK_DGRAM, protocol)
    except OSError:
        return socket.socket(family, socket.SOCK_RAW, protocol)


def udp_packet(source: str, target: str, port: int, payload: bytes) -> bytes:
    """A whole IPv4 packet with whatever source address (ip(7), udp(7); no UDP checksum)."""
    datagram = struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0,
        socket.inet_aton(source), socket.inet_aton(target),
    )  # fmt: skip
    return head + datagram


def checksum(data: bytes) -> int:
    """The Internet checksum of RFC 1071."""
    words = struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1])
    total: int = sum(words) + (data[-1] << 8 if len(data) & 1 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute, filled up to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def tell_kernel(kind: int, body: bytes, protocol: int = _ROUTES) -> None:
    """Send a netlink request; raises OSError with the kernel's answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        netlink.settimeout(2)
        netlink.send(_message(kind, _REQUEST | _ACK, body))
        number = _error_in(netlink.recv(65536))
    if number:
        raise OSError(number, f"netlink: {os.strerror(number)}")


def dump(kind: int, body: bytes, protocol: int) -> bytes:
    """Everything that the kernel lists; raises OSError with its answer."""
    found = b""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        netlink.settimeout(2)
        netlink.send(_message(kind, _REQUEST | _DUMP, body))
        while True:
            chunk = netlink.recv(1 << 20)
            if number := _error_in(chunk):
                raise OSError(number, f"netlink: {os.strerror(number)}")
            found += chunk
            if _ends(chunk):
                return found


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def _error_in(answer: bytes) -> int:
    kind, number = struct.unpack_from("=4xH10xi", answer)
    return -int(number) if kind == _NLMSG_ERROR else 0


def _ends(chunk: bytes) -> bool:
    position = 0
    while position + 16 <= len(chunk):
        length, kind = struct.unpack_from("=IH", chunk, position)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR):
            return True
        position += max(16, (length + 3) & ~3)
    return False
