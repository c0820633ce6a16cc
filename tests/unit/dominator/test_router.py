"""What the gate tells the router, and in which order."""

import pytest

from insula.dominator import packet, router
from insula.dominator.router import Router
from insula.dominator.table import markers


def _router(monkeypatch: pytest.MonkeyPatch, *, takes: int) -> tuple[Router, list[bytes]]:
    """A router that takes so many packets and refuses the rest; no clock."""
    told: list[bytes] = []

    def send(self: Router, data: bytes) -> bool:
        if len(told) >= takes:
            return False
        told.append(data)
        return True

    monkeypatch.setattr(Router, "send", send)
    breathe = "insula.dominator.router.time.sleep"
    monkeypatch.setattr(breathe, lambda seconds: told.append(b"breath"))
    return Router.__new__(Router), told  # without a socket


def test_a_busy_router_ends_a_replay_at_its_first_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    speaker, told = _router(monkeypatch, takes=3)
    assert not speaker.send_all([b"%d" % number for number in range(10)])
    assert told == [b"0", b"1", b"2"]


def test_a_long_replay_takes_a_breath_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    speaker, told = _router(monkeypatch, takes=10_000)
    assert speaker.send_all([b"x"] * (2 * router.BATCH_PACKETS))
    assert [place for place, data in enumerate(told) if data == b"breath"] == [
        router.BATCH_PACKETS,
        2 * router.BATCH_PACKETS + 1,
    ]


def test_the_fallback_is_told_last_because_wildcards_wait_for_it() -> None:
    keys = list(markers({"a.org": 1, ".b.org": 2}, pages_503="/503", pages_421="/421"))
    assert keys == ["mapped/a.org", "mapped/.b.org", "unknown/"]


def test_a_leave_differs_from_its_announcement_in_one_byte() -> None:
    hello = packet.build({"key": "a.org", "address": "/a"})
    leave = packet.as_leave(hello)
    assert leave == packet.build({"key": "a.org", "address": "/a"}, leave=True)
    assert packet.parse(leave).leave and not packet.parse(hello).leave
