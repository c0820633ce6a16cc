"""The containers' sockets: one each, so a flood in one never delays another."""

import os
import select
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from insula.dominator.packet import LIMIT_BYTES
from insula.vassals import identity

_CREDENTIALS = struct.Struct("=iII")
PACKETS_A_ROUND = 8
PACKETS_A_SECOND = 20.0
BURST = 60.0


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram and the uid that the kernel vouches for (-1 when it names none)."""

    socket_uid: int
    sender_uid: int
    data: bytes


@dataclass
class _Box:
    path: Path
    socket: socket.socket
    inode: int
    budget: float = BURST
    filled_at: float = 0.0
    paused: bool = False

    def refill(self, now: float) -> None:
        self.budget = min(BURST, self.budget + (now - self.filled_at) * PACKETS_A_SECOND)
        self.filled_at = now


class Inbox:
    """Opens a socket in each directory that the configurator made, reads them fairly."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._boxes: dict[int, _Box] = {}
        self._by_fd: dict[int, int] = {}
        self._epoll = select.epoll()

    def refresh(self, *, now: float) -> None:
        """Open what is new, close what is gone, read again what was paused."""
        found = {int(name) for name in os.listdir(self.directory) if _is_uid(name)}
        for uid in [uid for uid, box in self._boxes.items() if _inode(box.path) != box.inode]:
            self._close(uid)
        for uid in found - set(self._boxes):
            self._open(uid, now=now)
        for box in self._boxes.values():
            box.refill(now)
            if box.paused and box.budget >= PACKETS_A_ROUND:
                box.paused = False
                self._epoll.register(box.socket.fileno(), select.EPOLLIN)

    def wait(self, seconds: float, *, now: float) -> tuple[list[Datagram], list[int]]:
        """What came, at most a few of each container; and the uids that are paused from now on.

        A container over its rate is not read until its budget has grown again: its sender blocks,
        and its flood costs the gate nothing.
        """
        datagrams: list[Datagram] = []
        paused = []
        for fd, _ in self._epoll.poll(seconds):
            uid = self._by_fd[fd]
            box = self._boxes[uid]
            box.refill(now)
            for _ in range(PACKETS_A_ROUND):
                datagram = _receive(uid, box.socket)
                if datagram is None:
                    break
                box.budget -= 1
                datagrams.append(datagram)
            if box.budget < 1:
                box.paused = True
                self._epoll.unregister(fd)
                paused.append(uid)
        return datagrams, paused

    def _open(self, uid: int, *, now: float) -> None:
        path = self.directory / str(uid) / "http"
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            path.unlink(missing_ok=True)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            server.bind(str(path))
            path.chmod(0o666)
        except OSError:
            server.close()  # not the gate's directory yet: the next round tries again
            return
        self._boxes[uid] = _Box(path, server, _inode(path), filled_at=now)
        self._by_fd[server.fileno()] = uid
        self._epoll.register(server.fileno(), select.EPOLLIN)

    def _close(self, uid: int) -> None:
        box = self._boxes.pop(uid)
        self._by_fd.pop(box.socket.fileno())
        box.socket.close()


def _receive(uid: int, server: socket.socket) -> Datagram | None:
    try:
        data, extra, flags, _ = server.recvmsg(
            LIMIT_BYTES + 1, socket.CMSG_SPACE(_CREDENTIALS.size), socket.MSG_CMSG_CLOEXEC
        )
    except OSError:
        return None
    sender = -1
    for level, kind, content in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            sender = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[1]
    # SO_PASSCRED makes the kernel cut other ancillary data, so no descriptor is received.
    return Datagram(uid, -1 if flags & socket.MSG_CTRUNC else sender, data)


def _is_uid(name: str) -> bool:
    return len(name) == 5 and name.isdigit() and identity.is_container_uid(int(name))


def _inode(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else 0
