"""When a request counts as hanging; tests/kernel/test_watchdog.py lets one hang."""

from insula.api.watchdog import Watchdog


def test_only_a_request_that_is_old_at_two_looks_hangs() -> None:
    dog = Watchdog(hung_seconds=10.0)
    with dog.request():
        begun = next(iter(dog._begun.values()))
        assert not dog.hangs(now=begun + 9)
        assert not dog.hangs(now=begun + 11)
        assert dog.hangs(now=begun + 21)
    # It ended between two looks: a process that was stopped goes on.
    with dog.request():
        begun = next(iter(dog._begun.values()))
        assert not dog.hangs(now=begun + 500)
    assert not dog.hangs(now=begun + 510)
