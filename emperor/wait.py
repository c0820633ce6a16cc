"""Waits until the API of a node that was just started answers, and tells why it takes long."""

import time
from collections.abc import Callable

from insula.emperor import service, status
from insula.emperor.daemon import http
from insula.emperor.errors import FeedError, PreparationError
from insula.emperor.settings import Node
from insula.vassals.identity import API_UID

WAIT_SECONDS = 90.0
_TELL_EVERY_SECONDS = 10.0


class NotInTime(PreparationError):
    """Something did not come up in time."""

    exit_code = 6


def for_api(node: Node, note: Callable[[str], None]) -> None:
    """Return as soon as the API answers with its newest release. Raises NotInTime."""
    begin = time.monotonic()
    told = begin
    wanted = (node.paths.api / "current").readlink().name
    while status.api_release(node) != wanted:
        now = time.monotonic()
        if now - begin > WAIT_SECONDS:
            raise NotInTime(
                f"the API has not answered for {WAIT_SECONDS:.0f} s{_reason(node)}",
                f"insula logs {API_UID}, and {service.log_place(node)}",
            )
        if now - told > _TELL_EVERY_SECONDS:
            note(f"still waiting for the API{_reason(node)}")
            told = now
        time.sleep(0.05)


def _reason(node: Node) -> str:
    """What it says about itself, for instance that its database is lost."""
    try:
        http.call(node.paths.api_operator / "api.sock", "GET", "/api/v1/ping", timeout=3)
    except FeedError as error:
        return f": {error.message}"
    return ""


def until(what: str, is_true: Callable[[], bool], *, seconds: float, hint: str) -> None:
    """Return as soon as a claim is true, asked ten times a second. Raises PreparationError."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise PreparationError(f"waited {seconds:.0f} s until {what}", hint)
        time.sleep(0.1)
