"""A request's body with a time limit: who sends a byte every few seconds must not hold a thread.

uWSGI reads the begin of a body together with the headers, and keeps it where only it knows how much
that is. So a byte at a time is asked for where the kernel has none: it either lies there, or uWSGI
waits for it for four seconds at most (its socket-timeout).
"""

import fcntl
import struct
import termios
import time
from collections.abc import Callable
from typing import Protocol

BODY_SECONDS = 10.0


class Source(Protocol):
    """uWSGI's ``wsgi.input``: it waits until all that is asked for has come, byte by byte."""

    def read(self, size: int, /) -> bytes: ...


class TimelyBody:
    """Asks for no more than there is; fails when the whole takes too long."""

    def __init__(
        self, source: Source, descriptor: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.source = source
        self.descriptor = descriptor
        self.clock = clock
        self.deadline = clock() + BODY_SECONDS

    def hurry(self, seconds: float) -> None:
        """From now on there is only so much time left."""
        self.deadline = min(self.deadline, self.clock() + seconds)

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer where the sender has ended. Raises TimeoutError."""
        parts = []
        while size > 0:
            if self.clock() > self.deadline:
                raise TimeoutError("the body did not come in time")
            data = self.source.read(min(size, self._at_hand() or 1))
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def readline(self, size: int) -> bytes:
        """A line of at most ``size`` bytes; Django asks for lines of forms. Raises TimeoutError."""
        line = b""
        while len(line) < size and not line.endswith(b"\n") and (letter := self.read(1)):
            line += letter
        return line

    def _at_hand(self) -> int:
        """How many bytes the kernel has."""
        found = fcntl.ioctl(self.descriptor, termios.FIONREAD, b"\0" * 4)
        (count,) = struct.unpack("i", found)
        return int(count)
