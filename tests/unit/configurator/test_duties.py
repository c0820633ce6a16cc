"""When the configurator does what."""

from insula.configurator.duties import FULL_SECONDS, NAP_SECONDS, RETRY_SECONDS, Duties


def test_at_the_start_everything_is_due() -> None:
    duties = Duties()
    assert duties.is_full_due(0.0) and duties.take_usage(0.0) and duties.take_report(0.0)
    assert not duties.take_usage(1.0) and not duties.take_report(1.0)


def test_a_round_that_ends_is_reported_and_a_small_one_moves_no_full_one() -> None:
    duties = Duties()
    duties.end_round(10.0, is_full=True, full_before=duties.begin_round())
    duties.take_report(10.0)
    duties.end_round(20.0, is_full=False, full_before=duties.begin_round())
    assert duties.full == 10.0 + FULL_SECONDS
    assert duties.take_report(20.0)


def test_a_round_that_fails_whole_is_made_again_in_full() -> None:
    duties = Duties(full=500.0)
    duties.begin_round()
    assert duties.is_full_due(1.0)


def test_only_errors_are_tried_again_and_waited_for() -> None:
    duties = Duties(full=99.0, usage=99.0, report=99.0)
    duties.retry = 10.0 + RETRY_SECONDS
    assert not duties.is_retry_due(10.0, has_errors=True)
    assert duties.is_retry_due(20.0, has_errors=True)
    assert not duties.is_retry_due(20.0, has_errors=False)
    assert duties.seconds_left(19.5, has_errors=True) == 0.5
    assert duties.seconds_left(19.5, has_errors=False) == NAP_SECONDS
