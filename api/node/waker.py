"""Wakes the waiting feeds: one thread hears the datagrams that actions send after a commit."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from insula.api.errors import ApiError, Code

# The vassal has more threads than this, so reports always find one (vassals/node.ini).
MAXIMUM_WAITING = 16
# A datagram may be lost while this process starts; then the look at the row finds the change.
FALLBACK_SECONDS = 1.0


class Waker:
    """Holds requests until a revision is newer than theirs."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.count = 0
        self.condition = threading.Condition()
        self.slots = threading.BoundedSemaphore(MAXIMUM_WAITING)
        self.starting = threading.Lock()
        self.is_started = False

    def wait_newer(self, since: int, seconds: float, current: Callable[[], int]) -> int:
        """The current revision, as soon as it is not ``since`` or the time is over.

        Raises ApiError when too many wait.
        """
        if (revision := current()) != since or seconds <= 0:
            return revision
        deadline = time.monotonic() + seconds
        with self._slot():
            while True:
                seen = self.count
                revision = current()
                left = deadline - time.monotonic()
                if revision != since or left <= 0:
                    return revision
                with self.condition:
                    if self.count == seen:
                        self.condition.wait(min(left, FALLBACK_SECONDS))

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        self._start()
        if not self.slots.acquire(blocking=False):
            raise ApiError(Code.BUSY, f"{MAXIMUM_WAITING} requests wait already", "ask again")
        try:
            yield
        finally:
            self.slots.release()

    def _start(self) -> None:
        """Start to listen at the first wait: uWSGI forks after the app is loaded."""
        with self.starting:
            if self.is_started or self.path is None:
                return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            receiver.bind(self.path)
            os.chmod(self.path, 0o600)
            threading.Thread(target=self._listen, args=(receiver,), daemon=True).start()
            self.is_started = True

    def _listen(self, receiver: socket.socket) -> None:
        while True:
            receiver.recv(16)
            self.wake()

    def wake(self) -> None:
        with self.condition:
            self.count += 1
            self.condition.notify_all()
