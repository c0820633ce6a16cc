"""What the isolation doctor makes of answers that come late, or name nobody."""

import subprocess
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from insula.emperor.isolation import doctor
from insula.emperor.isolation.arena import Arena, Party
from insula.emperor.isolation.attacks.contract import Absent
from insula.emperor.isolation.traps.starving import at_most


class Slow:
    """An arena whose app answers a little more each time it is asked."""

    attacker = Party("attacker", 30002)

    def __init__(self, said: list[bytes]) -> None:
        self._said: Iterator[bytes] = iter(said)

    def ssh(self, *_: Any) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.CompletedProcess([], 0, stdout=next(self._said))


def read(said: list[bytes], wanted: int) -> list[bytes]:
    return doctor._app_lines(cast(Arena, Slow(said)), wanted)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 s go by between two questions."""
    now = [0.0]

    def sleep(_: float) -> None:
        now[0] += 100

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])


@pytest.mark.usefixtures("clock")
def test_an_app_is_heard_while_it_goes_on() -> None:
    said = [b"", b"1\n", b"1\n", b"1\n2\n", b"", b"1\n", b"1\n2\n3\n"]
    assert read(said, 3) == [b"1", b"2", b"3"]


@pytest.mark.usefixtures("clock")
def test_an_app_that_says_nothing_new_is_given_up_with_what_it_said() -> None:
    said = [b"1\n2\n", b"1\n2\n", b"1\n", b"1\n2\n", b"1\n2\n3\n"]
    assert read(said, 3) == [b"1", b"2"]


def test_connections_of_everybody_bound_those_of_one() -> None:
    assert at_most(4340, before=240, wanted=5120) == "at most 4340 of 5120 connections"


def test_connections_that_may_be_anybodys_prove_nothing() -> None:
    with pytest.raises(ValueError, match="nf_conntrack_netlink"):
        at_most(5120, before=240, wanted=5120)


def test_no_connection_more_is_no_attack() -> None:
    with pytest.raises(Absent):
        at_most(240, before=240, wanted=5120)
