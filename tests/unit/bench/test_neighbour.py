"""What the noisy neighbour's bench calls held: fast, whole, and open for logins."""

import pytest

from bench.neighbour import QUIET, Row, _together, judge


def row(name: str, p99: float, **more: object) -> Row:
    found = Row(name, requests=100, p50_ms={"kept": 1.0, "new": 1.0}, logins_s=[0.2])
    found.p99_ms = {"kept": p99, "new": p99}
    for key, value in more.items():
        setattr(found, key, value)
    return found


@pytest.mark.parametrize(
    ("quiet", "noisy", "held"),
    [(2.0, 9.9, True), (2.0, 10.1, False), (8.0, 15.9, True), (8.0, 16.1, False)],
    ids=["below-10-ms", "above-10-ms", "below-twice", "above-twice"],
)
def test_a_row_is_held_against_the_quiet_one(quiet: float, noisy: float, held: bool) -> None:
    rows = [row(QUIET, quiet), row("cpu", noisy)]
    judge(rows)
    assert rows[1].held is held


@pytest.mark.parametrize(
    "wrong",
    [
        {"lost": {"timeout": 1}},
        {"logins_s": [0.2, 1.2]},
        {"logins_s": [0.2, float("inf")]},
        {"p99_ms": {"kept": 1.0}},
    ],
    ids=["lost", "slow-login", "no-login", "no-answers"],
)
def test_a_row_with_something_lost_does_not_hold(wrong: dict[str, object]) -> None:
    rows = [row(QUIET, 2.0), row("cpu", 2.0, **wrong)]
    judge(rows)
    assert not rows[1].held


def test_rounds_count_by_their_medians_and_all_that_was_lost() -> None:
    rounds = [row("cpu", 3.0), row("cpu", 90.0, lost={"cut": 2}), row("cpu", 4.0)]
    found = _together(rounds)
    assert found.p99_ms == {"kept": 4.0, "new": 4.0}
    assert found.rounds_p99_ms == [3.0, 90.0, 4.0]
    assert (found.requests, found.lost, found.logins_s) == (300, {"cut": 2}, [0.2] * 3)
