"""Wakes the containers Emperor, which else looks at its directory every three seconds only."""

import socket
import threading
from pathlib import Path

TIMEOUT_SECONDS = 2.0


def wake(stats_socket: Path) -> bool:
    """Connect to the Emperor's stats socket and read to the end; False when it does not answer.

    A connection wakes its event loop and, unlike SIGWINCH, is never lost while it is busy.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(str(stats_socket))
            while connection.recv(65536):
                pass
        return True
    except OSError:
        return False


class Waker:
    """Wakes in a thread of its own: a busy Emperor holds up no container; requests run together."""

    def __init__(self, stats_socket: Path) -> None:
        self.stats_socket = stats_socket
        self._wanted = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="waker").start()

    def __call__(self) -> None:
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            wake(self.stats_socket)
