"""What the isolation doctor makes of answers that come late, or name nobody."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from insula.emperor.isolation import doctor
from insula.emperor.isolation.arena import Arena, Party
from insula.emperor.isolation.attacks import program
from insula.emperor.isolation.attacks.contract import Absent
from insula.emperor.isolation.threats import Threat
from insula.emperor.isolation.traps.starving import at_most


class Ending:
    """An arena whose sessions end after so many of the answers."""

    attacker = Party("attacker", 30002)

    def __init__(self, answers: list[int]) -> None:
        self._answers = iter(answers)

    def ssh_lines(self, _: Party, command: str, *, seconds: float) -> Iterator[bytes]:
        assert seconds > 0
        for name in command.split()[3:][: next(self._answers)]:
            told = {"name": name, "verdict": "held", "reason": "no", "seconds": 0.1}
            yield json.dumps(told).encode()


def attacked(answers: list[int]) -> list[tuple[str, bool]]:
    threats = [Threat(name, "", "", ()) for name in ("a", "b", "c")]
    found = doctor._from_ssh(cast(Arena, Ending(answers)), threats)
    return [(probe.threat.name, probe.passed) for probe in found]


def test_an_attack_whose_session_ends_is_tried_again() -> None:
    assert attacked([1, 0, 2]) == [("a", True), ("b", True), ("c", True)]


def test_an_attack_that_ends_every_session_has_failed() -> None:
    assert attacked([1, 0, 0, 1]) == [("a", True), ("b", False), ("c", True)]


def test_a_program_that_was_ended_goes_on_with_what_has_no_answer(tmp_path: Path) -> None:
    part = tmp_path / "results.part"
    assert program._answered(part) == set()
    part.write_text('{"name": "a"}\n{"name": "b"}\n{"na')
    assert program._answered(part) == {"a", "b"}
    assert part.read_text() == '{"name": "a"}\n{"name": "b"}\n'


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
