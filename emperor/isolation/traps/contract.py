"""What a trap is: laid in the attacker's container, sprung by what the node does every day."""

import subprocess
import time
from collections.abc import Callable

from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks.contract import (
    ABSENT,
    FAILED,
    HELD,
    THROUGH,
    Absent,
    Held,
    Outcome,
    Verdict,
)
from insula.vassals.errors import InsulaError

Trap = Callable[[Arena], str]
TRAPS: dict[str, Trap] = {}


def trap(function: Trap) -> Trap:
    """Register a function; its name with dashes is the probe's.

    It returns what got through, raises Held with the answer that refused it, Absent when the node
    does not have the thing. Anything else it raises makes the probe fail. It leaves the arena as
    it found it: the next trap uses it, too.
    """
    TRAPS[function.__name__.replace("_", "-")] = function
    return function


def run(name: str, arena: Arena) -> Outcome:
    """Lay and spring one trap."""
    begin = time.monotonic()
    verdict: Verdict
    try:
        verdict, reason = THROUGH, TRAPS[name](arena)
    except Held as error:
        verdict, reason = HELD, str(error)
    except Absent as error:
        verdict, reason = ABSENT, str(error)
    except (InsulaError, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        verdict, reason = FAILED, f"{type(error).__name__}: {error}"
    return Outcome(name, verdict, reason[:500], round(time.monotonic() - begin, 3))
