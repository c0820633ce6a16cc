"""Counters never go back, whatever happens to what they count."""

from insula.collector.counters import KEPT_ROUNDS, Totals

SERIES = ("insula_domain_requests_total", "a.test")


def test_a_counter_that_starts_again_goes_on_growing() -> None:
    totals = Totals()
    assert [totals.add(SERIES, value) for value in (10, 15, 2, 3)] == [10, 15, 17, 18]


def test_two_origins_of_a_series_are_added_up() -> None:
    totals = Totals()
    totals.add(SERIES, 10, origin=("first",))
    totals.add(SERIES, 5, origin=("second",))
    totals.add(SERIES, 12, origin=("first",))
    assert totals.total(SERIES) == 17


def test_an_origin_that_did_not_answer_for_a_while_is_not_counted_twice() -> None:
    totals = Totals()
    totals.add(SERIES, 10)
    for _ in range(KEPT_ROUNDS // 2):
        totals.end_round()
    assert totals.add(SERIES, 11) == 11


def test_what_is_gone_for_long_takes_no_memory() -> None:
    totals = Totals()
    for number in range(50):
        totals.add((SERIES[0], f"{number}.test"), 1)
    for _ in range(2 * KEPT_ROUNDS):
        totals.end_round()
    assert totals._last == {} and totals._total == {}
