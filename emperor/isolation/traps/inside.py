"""What the traps share: code run inside, a site of the neighbour's, the router asked."""

import http.client
import shlex
import time
from collections.abc import Callable

from insula.emperor.errors import PreparationError
from insula.emperor.isolation.arena import Arena, Party

PATIENCE_SECONDS = 30.0
# Needs no language: uWSGI's own routing answers.
_SITE = """[uwsgi]
domain = {domain}
route-run = addheader:X-Site: {secret}
route-run = break:200 OK
"""
_PREAMBLE = """
from insula.emperor.isolation.attacks.announcing import *
"""


def python(made: Arena, party: Party, code: str, *, timeout: float = 60) -> str:
    """Run code inside, with the attacks' modules; its output. Raises PreparationError."""
    done = made.ssh(
        party, "PYTHONPATH=attacks.pyz timeout 60 python3 -",
        stdin=(_PREAMBLE + code).encode(), timeout=timeout,
    )  # fmt: skip
    if done.returncode != 0:
        raise PreparationError(f"inside {party.uid}: {done.stderr.decode()[-300:]}")
    return done.stdout.decode()


def shell(made: Arena, party: Party, *words: str) -> str:
    """Run one command inside, word by word; its output. Raises PreparationError."""
    done = made.ssh(party, shlex.join(words))
    if done.returncode != 0:
        raise PreparationError(f"{words[0]} in {party.uid}: {done.stderr.decode()[-300:]}")
    return done.stdout.decode()


def serve_site(made: Arena) -> str:
    """Let the neighbour serve its domain, as customers do, for the rest of the run; its mark."""
    domain, secret = made.targets.neighbour.domain, made.targets.neighbour.secret
    if seen(made, domain) != (200, secret):
        text = _SITE.format(domain=domain, secret=secret)
        made.put(made.victim, "vassals/site.ini", text.encode())
        wait("the neighbour's site answers", lambda: seen(made, domain) == (200, secret))
    return secret


def seen(made: Arena, domain: str) -> tuple[int, str]:
    """What the router answers a visitor: the status, and whose site it was."""
    port = made.node.settings.http_port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": domain, "Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("X-Site", "")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def wait(what: str, is_true: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until it is true. Raises PreparationError."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise PreparationError(f"waited {seconds:.0f} s until {what}")
        time.sleep(0.05)
