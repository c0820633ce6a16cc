"""The daemons' log: one JSON object a line on stderr, a constant event name and its fields."""

import json
import sys
import time
from typing import TextIO


class Log:
    """``log.info("vassal written", uid=30005)``; nothing secret may be passed in."""

    def __init__(self, daemon: str, stream: TextIO | None = None) -> None:
        self.daemon = daemon
        self.stream = stream or sys.stderr

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
