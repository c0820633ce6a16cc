"""Looks after containers that were told to boot, in pure code; seconds count from machine boot."""

from collections.abc import Mapping
from dataclasses import dataclass

# The kernel keeps start times in hundredths of a second.
START_SLACK_SECONDS = 0.05
GIVEN_UP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Boots:
    """When each container was told to boot; ``ending``: whose old instance was seen since."""

    written: Mapping[int, float]
    ending: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of one look: the boots that are left, and what is to be done at once."""

    boots: Boots
    is_report_due: bool
    is_wake_due: bool


def look(boots: Boots, started: Mapping[int, float], *, now: float) -> Looked:
    """One look at the first processes: ``started`` has their starts, 0 where none lives.

    A container that it leaves out is no longer wanted.
    """
    waiting: dict[int, float] = {}
    ending: set[int] = set()
    is_report_due = is_wake_due = False
    for uid, written_at in boots.written.items():
        start = started.get(uid)
        if start is None or start >= written_at - START_SLACK_SECONDS:
            # Reported as soon as it runs: somebody waits for it.
            is_report_due = True
        elif now - written_at <= GIVEN_UP_SECONDS:
            waiting[uid] = written_at
            if start or uid in boots.ending:
                ending.add(uid)
            if not start and uid in boots.ending:
                # The Emperor looked while the old instance still ended; by itself it looks again
                # three seconds later.
                is_wake_due = True
    return Looked(Boots(waiting, frozenset(ending)), is_report_due, is_wake_due)
