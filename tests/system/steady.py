"""A visitor who asks for a page again and again, and notes every request that goes wrong."""

import http.client
import time

from tests.system.background import Background
from tests.system.conftest import Node

PAUSE_SECONDS = 0.02


class Steady(Background):
    """Requests in a thread while the ``with`` block runs; ``failed`` says which went wrong."""

    def __init__(self, node: Node, host: str, *, timeout: float = 10) -> None:
        super().__init__(f"visitor of {host}")
        self.node, self.host, self.timeout = node, host, timeout
        self.count = 0
        self.failed: list[str] = []
        self.bodies: set[bytes] = set()
        self._started = time.monotonic()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            try:
                answer = self.node.get(self.host, timeout=self.timeout)
            except (OSError, http.client.HTTPException) as error:
                self._note(repr(error))
            else:
                self.bodies.add(answer.body)
                if answer.status != 200:
                    self._note(str(answer.status))
            self.count += 1

    def _note(self, what: str) -> None:
        self.failed.append(f"after {time.monotonic() - self._started:.2f} s: {what}")

    def lost_nothing(self, *, of_at_least: int) -> None:
        """Fail unless enough requests were made and all of them were answered."""
        assert self.failed == [], f"{len(self.failed)} of {self.count}: {self.failed[:5]}"
        assert self.count >= of_at_least
