"""What boots is looked after: it is reported when it runs, and the Emperor woken for a reboot."""

from insula.configurator.boots import GIVEN_UP_SECONDS, Boots, Looked, look

WRITTEN_AT = 200.0
UID = 30001


def looks(*starts: float, boots: Boots | None = None, now: float = WRITTEN_AT) -> list[Looked]:
    """One look each: the start of the container's first process, 0 when none lives."""
    boots = boots or Boots({UID: WRITTEN_AT})
    found = []
    for start in starts:
        found.append(look(boots, {UID: start}, now=now))
        boots = found[-1].boots
    return found


def wakes(*starts: float) -> list[bool]:
    return [found.is_wake_due for found in looks(*starts)]


def test_the_emperor_is_woken_when_the_old_instance_has_ended() -> None:
    assert wakes(100.0, 100.0, 0.0) == [False, False, True]


def test_a_first_boot_needs_no_second_wake() -> None:
    assert wakes(0.0, 0.0, 201.0) == [False] * 3


def test_a_report_is_due_as_soon_as_the_new_instance_runs() -> None:
    found = looks(100.0, 0.0, 200.1)
    assert [item.is_report_due for item in found] == [False, False, True]
    assert found[-1].boots == Boots({})


def test_after_the_boot_nothing_is_woken_any_more() -> None:
    assert wakes(100.0, 0.0, 200.1, 0.0) == [False, True, False, False]


def test_a_boot_that_never_comes_is_given_up() -> None:
    ending = looks(100.0)[-1].boots
    late = looks(0.0, boots=ending, now=WRITTEN_AT + GIVEN_UP_SECONDS + 1)[-1]
    assert late == Looked(Boots({}), is_report_due=False, is_wake_due=False)


def test_what_is_no_longer_wanted_is_not_waited_for() -> None:
    assert look(Boots({UID: WRITTEN_AT}), {}, now=WRITTEN_AT).boots == Boots({})
