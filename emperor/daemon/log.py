"""The daemons' log: one JSON object a line on stderr, a constant event name and its fields."""

import json
import sys
import time
from typing import TextIO

REPEAT_SECONDS = 60.0
_REMEMBERED = 1000


class Log:
    """``log.info("vassal written", uid=30005)``; nothing secret may be passed in.

    A warning or error that says the same again is written once a minute, with how often it came in
    between: a full disk must not fill the rest of it with our words.
    """

    def __init__(self, daemon: str, stream: TextIO | None = None) -> None:
        self.daemon = daemon
        self.stream = stream or sys.stderr
        # By what they say: when they were written, and how often they were not since.
        self._told: dict[str, tuple[float, int]] = {}

    def info(self, event: str, **fields: object) -> None:
        """A change of state."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something that was handled."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something that a person must see."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if level != "info":
            times = self._times_left_out(json.dumps([event, fields], default=str))
            if times is None:
                return
            fields = fields | ({"repeated": times} if times else {})
        now = time.time()
        line: dict[str, object] = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            + f".{now % 1:.3f}"[2:]
            + "Z",
            "level": level,
            "daemon": self.daemon,
            "event": event,
        }
        # default=str: a path or an address in a field must not end a daemon.
        print(json.dumps(line | fields, default=str), file=self.stream, flush=True)

    def _times_left_out(self, words: str) -> int | None:
        """None when these words were written just now, else how often they were left out since."""
        now = time.monotonic()
        at, times = self._told.get(words, (-REPEAT_SECONDS, 0))
        if now - at < REPEAT_SECONDS:
            self._told[words] = (at, times + 1)
            return None
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told[words] = (now, 0)
        return times
