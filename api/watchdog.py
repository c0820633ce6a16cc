"""Ends this process when one of its requests hangs; uWSGI starts another one, the log says where.

uWSGI's own harakiri keeps one date for all threads of a worker, which each request that ends
takes back: with threads it notices nothing.
"""

import faulthandler
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# No request waits for longer than a minute (a command with --wait), and SQLite for 20 s.
HUNG_SECONDS = 180.0
LOOK_SECONDS = 10.0
EXIT_STATUS = 70

log = logging.getLogger("insula.api")


class Watchdog:
    """Knows since when each request is under way."""

    def __init__(
        self, *, hung_seconds: float = HUNG_SECONDS, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self.hung_seconds, self.look_seconds = hung_seconds, look_seconds
        self._numbers = itertools.count()
        self._begun: dict[int, float] = {}
        self._suspected: frozenset[int] = frozenset()

    def start(self) -> None:
        """Look from now on, in a thread of its own."""
        threading.Thread(target=self._keep_looking, daemon=True, name="watchdog").start()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around a request."""
        number = next(self._numbers)
        self._begun[number] = time.monotonic()
        try:
            yield
        finally:
            del self._begun[number]

    def hangs(self, *, now: float) -> bool:
        """True when a request was too old at the last look and still is at this one.

        After one look alone a process that was stopped for a while would be taken for hanging.
        """
        begun = self._begun.copy()
        old = frozenset(
            number for number, since in begun.items() if now - since > self.hung_seconds
        )
        found, self._suspected = bool(old & self._suspected), old
        return found

    def _keep_looking(self) -> None:
        while True:
            # Should this very thread not come back in time, because something holds the
            # interpreter's lock, faulthandler's own thread writes the stacks and ends the process.
            faulthandler.dump_traceback_later(self.hung_seconds + self.look_seconds, exit=True)
            time.sleep(self.look_seconds)
            if self.hangs(now=time.monotonic()):
                log.error("a request hangs for %d s: starting again", self.hung_seconds)
                faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
                os._exit(EXIT_STATUS)
