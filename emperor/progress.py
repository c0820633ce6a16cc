"""Shows the steps of a command with their times, and names the step in which something failed."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from insula.vassals.errors import InsulaError

# A step that took less is shown without a time of its own.
_WORTH_A_TIME_SECONDS = 0.1


class Progress:
    """Writes ``[ 12.3s] distro default: 31.2 s`` to a stream, standard error when none is given."""

    def __init__(
        self,
        started: float,
        *,
        clock: Callable[[], float] = time.time,
        stream: TextIO | None = None,
    ) -> None:
        self.started = started
        self.clock = clock
        self.stream = stream or sys.stderr

    def note(self, text: str) -> None:
        """One line with the time since the start."""
        print(f"[{self.clock() - self.started:6.1f}s] {text}", file=self.stream, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what runs inside; an error that leaves it is told with the step's name."""
        begin = self.clock()
        try:
            yield
        except InsulaError as error:
            error.message = f"{name}: {error.message}"
            error.args = (error.message,)
            raise
        took = self.clock() - begin
        self.note(f"{name}: {took:.1f} s" if took >= _WORTH_A_TIME_SECONDS else name)
