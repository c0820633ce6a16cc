"""What is said to the router, and at which pace."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from insula.dominator import packet, router
from insula.dominator.router import Router


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Router]:
    speaker = Router(tmp_path)
    yield speaker
    speaker.close()


def test_a_long_replay_takes_a_breath_now_and_then(
    speaker: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("insula.dominator.router.time.sleep", lambda _: told.append("breath"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(speaker.socket_path))
        for _ in range(2 * router.BATCH_PACKETS):
            assert speaker.send(b"x")
            told.append(ear.recv(10).decode())
    assert [place for place, word in enumerate(told) if word == "breath"] == [
        router.BATCH_PACKETS - 1,
        2 * router.BATCH_PACKETS,
    ]


def test_a_router_that_is_not_there_takes_nothing(speaker: Router) -> None:
    assert not speaker.send(b"x")
    assert speaker.identity() is None


def test_a_leave_differs_from_its_announcement_in_one_byte() -> None:
    hello = packet.build({"key": "a.org", "address": "/a"})
    leave = packet.as_leave(hello)
    assert leave == packet.build({"key": "a.org", "address": "/a"}, leave=True)
    assert packet.is_leave(leave) and not packet.is_leave(hello)
