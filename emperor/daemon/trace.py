"""Writes the steps of a change where `insula explain` and the benches read them."""

import contextlib
import json
import os
import time
from pathlib import Path

from insula.emperor.errors import KernelError
from insula.emperor.kernel.beneath import hold
from insula.emperor.settings import Paths
from insula.vassals.errors import InvalidValue
from insula.vassals.report import StepState, TraceEvent

KEPT_LINES = 400
_CUT_AT_BYTES = 128 * 1024
# More than any writer keeps; the dominator's file is not root's, and root reads it.
_READ_BYTES = 4 * 1024 * 1024


class Trace:
    """The trace files of one writer (configurator, dominator); one file a container, bounded."""

    def __init__(self, paths: Paths, writer: str) -> None:
        self.paths = paths
        self.writer = writer

    def step(
        self,
        uid: int,
        step: str,
        *,
        generation: int = 0,
        state: StepState = "ok",
        detail: str = "",
        at: float | None = None,
    ) -> None:
        """Append one step; ``at`` is unix seconds, now when not given.

        A step that cannot be written is left out: a full run directory stops no work.
        """
        event = TraceEvent(
            at=time.time() if at is None else at,
            uid=uid,
            generation=generation,
            step=step,
            state=state,
            detail=detail[:1000],
        )
        with contextlib.suppress(OSError):
            _append(self.paths.trace(self.writer, uid), json.dumps(event.to_json()) + "\n")


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    with os.fdopen(fd, "a") as file:
        file.write(line)
        size = file.tell()
    if size > _CUT_AT_BYTES:
        _keep_last(path)


def _keep_last(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)[-KEPT_LINES:]
    temporary = path.with_name(f".{path.name}")
    temporary.write_text("".join(lines))
    os.rename(temporary, path)


def read(paths: Paths, uid: int) -> list[TraceEvent]:
    """All steps that any writer kept for a container, in the order of their times."""
    events: list[TraceEvent] = []
    for writer in ("configurator", "boot", "dominator"):
        path = paths.trace(writer, uid)
        try:
            with hold(path.parent) as directory:
                text = directory.read(path.name, _READ_BYTES).decode()
        except KernelError:
            continue
        events += [event for line in text.splitlines() if (event := _event(line))]
    return sorted(events, key=lambda event: event.at)


def _event(line: str) -> TraceEvent | None:
    """A line that a full disk or a kill has cut counts as none."""
    try:
        return TraceEvent.from_json(json.loads(line))
    except (ValueError, InvalidValue):
        return None
