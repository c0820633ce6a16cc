"""The neighbour: services that answer whoever reaches them, as careless as customers are."""

import collections
import contextlib
import ctypes
import os
import selectors
import socket
from typing import NoReturn

SOCKET_FILE = "/tmp/victim.sock"
_IPC_CREAT = 0o1000
_PAGE_BYTES = 4096
# the last datagrams with their senders, which "who" asks for
_HEARD: collections.deque[bytes] = collections.deque(maxlen=16)


def serve(secret: str, port: int) -> NoReturn:
    """Answer with the secret everywhere, for ever. SECRET is in our environment, too."""
    if os.environ.get("SECRET") != secret:
        # the environment that /proc shows is the one of the start
        os.environ["SECRET"] = secret
        os.execv("/usr/bin/python3", ["python3", *os.sys.argv])  # type: ignore[attr-defined]
    _share_memory(secret, port)
    chooser = selectors.DefaultSelector()
    for server in _servers(port):
        chooser.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in chooser.select():
            assert isinstance(key.fileobj, socket.socket)
            with contextlib.suppress(OSError):
                _answer(key.fileobj, secret.encode())


def _servers(port: int) -> list[socket.socket]:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET_FILE)
    found = [
        _bound(socket.AF_INET6, socket.SOCK_STREAM, ("::", port)),
        _bound(socket.AF_INET6, socket.SOCK_DGRAM, ("::", port)),
        _bound(socket.AF_UNIX, socket.SOCK_STREAM, SOCKET_FILE),
        _bound(socket.AF_UNIX, socket.SOCK_STREAM, f"\0victim-{os.getuid()}"),
    ]
    os.chmod(SOCKET_FILE, 0o777)
    return found


def _bound(family: int, kind: int, address: "str | tuple[str, int]") -> socket.socket:
    server = socket.socket(family, kind)
    if family == socket.AF_INET6:
        # both families, as most servers listen today
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(address)
    if kind == socket.SOCK_STREAM:
        server.listen(64)
    return server


def _answer(server: socket.socket, secret: bytes) -> None:
    if server.type == socket.SOCK_DGRAM:
        said, sender = server.recvfrom(2048)
        if said == b"who":
            server.sendto(b"\n".join(_HEARD), sender)
        else:
            _HEARD.append(said[:64] + b" from " + sender[0].encode())
            server.sendto(secret, sender)
        return
    connection, _ = server.accept()
    with connection:
        connection.sendall(secret)


def _share_memory(secret: str, key: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    identifier = libc.shmget(key, _PAGE_BYTES, _IPC_CREAT | 0o666)
    if identifier < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    ctypes.memmove(libc.shmat(identifier, None, 0), secret.encode(), len(secret))
