"""The daemon looks after what boots: it reports what runs, and wakes the Emperor for a reboot."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from insula.configurator import daemon
from insula.configurator.daemon import Daemon
from insula.vassals.spec import DesiredState
from tests.unit.configurator.examples import NODE, container

WRITTEN_AT = 200.0
STATE = DesiredState("x", 5, (container(),), (), ())


class Boots:
    """A daemon for which container 30001 was written at 200; counts how often it wakes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wakes = 0
        self.now = WRITTEN_AT
        self.since = 0.0
        monkeypatch.setattr(daemon, "time", SimpleNamespace(time=lambda: self.now))
        monkeypatch.setattr(Daemon, "_runs_since", lambda *_: self.since)
        applier = SimpleNamespace(wake=self.wake)
        parts: Any = SimpleNamespace(applier=applier)
        self.daemon = Daemon(NODE, parts, cast(Any, None), cast(Any, None))
        self.daemon.booting = {30001: WRITTEN_AT}
        self.daemon._report_due = 1000.0

    def wake(self) -> None:
        self.wakes += 1

    def sees(self, *starts: float) -> None:
        """One look each: the start of the container's first process, 0 when none lives."""
        for since in starts:
            self.since = since
            self.daemon._watch_boots(STATE, 0.0)


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch) -> Boots:
    return Boots(monkeypatch)


def test_the_emperor_is_woken_when_the_old_instance_has_ended(boots: Boots) -> None:
    boots.sees(100.0, 100.0)
    assert boots.wakes == 0
    boots.sees(0.0)
    assert boots.wakes == 1


def test_a_first_boot_needs_no_second_wake(boots: Boots) -> None:
    boots.sees(0.0, 0.0, 201.0)
    assert boots.wakes == 0


def test_a_report_is_due_as_soon_as_the_new_instance_runs(boots: Boots) -> None:
    boots.sees(100.0, 0.0)
    assert boots.daemon._report_due == 1000.0
    boots.sees(200.1)
    assert (boots.daemon._report_due, boots.daemon.booting) == (0.0, {})


def test_after_the_boot_nothing_is_woken_any_more(boots: Boots) -> None:
    boots.sees(100.0, 0.0, 200.1, 0.0)
    assert boots.wakes == 1


def test_a_boot_that_never_comes_is_given_up(boots: Boots) -> None:
    boots.sees(100.0)
    boots.now = WRITTEN_AT + daemon.BOOT_GIVEN_UP_SECONDS + 1
    boots.sees(0.0, 0.0)
    assert (boots.wakes, boots.daemon.booting, boots.daemon._ending) == (0, {}, set())
