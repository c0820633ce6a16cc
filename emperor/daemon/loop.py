"""How a daemon lives: signals set a flag, the loop never ends on a failed round, `main` reports."""

import signal
import sys
import threading
import traceback
from collections.abc import Callable

from insula.emperor.daemon.log import Log
from insula.emperor.kernel import privileges
from insula.vassals.errors import InsulaError


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT and SIGQUIT set."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def forever(
    work: Callable[[], None],
    *,
    stopping: threading.Event,
    log: Log,
    beat: Callable[[], None],
    pause_seconds: float = 0.0,
    retry_seconds: float = 1.0,
) -> None:
    """Call ``work`` until ``stopping`` is set; after a failure log it, wait and go on.

    ``beat`` is called before each round: a round that hangs is silent (see Beat).
    The wait doubles from ``retry_seconds`` up to 30 s while failures follow one another.
    """
    wait, told = retry_seconds, ""
    while not stopping.is_set():
        beat()
        try:
            work()
        except Exception as error:  # the loop outlives a bug in one round
            # A full disk fails each round in the same way: once in the log is enough.
            if repr(error) != told:
                _tell(log, error, wait)
            told = repr(error)
            stopping.wait(wait)
            wait = min(wait * 2, 30.0)
            continue
        if told:
            log.info("rounds work again", after=told)
        wait, told = retry_seconds, ""
        stopping.wait(pause_seconds)


def _tell(log: Log, error: Exception, wait: float) -> None:
    match error:
        case InsulaError():
            log.warning("round failed", error=error.message, hint=error.hint, retry_seconds=wait)
        case OSError():
            log.warning("round failed", error=str(error), retry_seconds=wait)
        case _:
            log.error("round crashed", error=repr(error), traceback=traceback.format_exc())


def run(main: Callable[[], None]) -> None:
    """Call ``main``; print an InsulaError as two lines and leave with its exit code.

    The process ends with its parent: an Emperor that is killed leaves no second daemon behind.
    """
    try:
        privileges.end_with_parent(signal.SIGKILL)
        main()
    except InsulaError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"({error.hint})", file=sys.stderr)
        sys.exit(error.exit_code)
