"""Speaks to the router: sends it packets and sees when one of its processes was replaced."""

import os
import socket
import time
from pathlib import Path

from insula.emperor.kernel.process import Children

# A router that is busy gets its packets in the next round.
SEND_SECONDS = 0.2
# A router process passes each packet on to the others through pipes that take some 270 at a time
# and drop the rest (plugins/corerouter/cr_common.c): so many packets, then so long a breath.
BATCH_PACKETS = 64
BREATH_SECONDS = 0.002


class Router:
    """The router's subscription socket and the processes that listen behind it."""

    def __init__(self, directory: Path) -> None:
        self.socket_path = directory / "subscribe.sock"
        self.pid_path = directory / "router.pid"
        self.pages_421 = directory / "pages-421.sock"
        self.pages_503 = directory / "pages-503.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SEND_SECONDS)
        self._sent = 0
        self._children = Children()

    def close(self) -> None:
        self._socket.close()

    def send(self, packet: bytes) -> bool:
        """False when the router is not there or too busy; many are sent at a pace it can follow."""
        try:
            self._socket.sendto(packet, str(self.socket_path))
        except OSError:
            return False
        self._sent += 1
        if self._sent % BATCH_PACKETS == 0:
            time.sleep(BREATH_SECONDS)
        return True

    def identity(self) -> tuple[object, ...] | None:
        """Changes when the router, one of its processes or a page's socket is a new one.

        A process that the router's master starts again has an empty table, though the socket is
        the old one. None while there is no router.
        """
        try:
            master = int(self.pid_path.read_text())
            children = self._children.of(master)
            inode = os.stat(self.socket_path).st_ino
        except (OSError, ValueError):
            return None
        return master, children, inode, _inode(self.pages_421), _inode(self.pages_503)


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
