"""What is said to the router, and at which pace."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from insula.dominator import packet, router
from insula.dominator.router import Router
from insula.emperor.kernel.process import Children


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


def test_a_router_is_known_on_a_kernel_that_keeps_no_list_of_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing would be replayed, and unknown hosts would get no answer."""
    monkeypatch.setattr("insula.dominator.router.Children", lambda: Children(tmp_path / "proc"))
    for pid, parent in ((20, 1), (30, 20)):
        (tmp_path / f"proc/{pid}/task/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/stat").write_text(f"{pid} (uwsgi) S {parent} 0")
    with closing(Router(tmp_path)) as speaker:
        speaker.pid_path.write_text("20\n")
        speaker.socket_path.touch()
        first = speaker.identity()
        (tmp_path / "proc/30").rename(tmp_path / "proc/31")
        assert None not in (first, speaker.identity())
        assert speaker.identity() != first


def test_a_leave_differs_from_its_announcement_in_one_byte() -> None:
    hello = packet.build({"key": "a.org", "address": "/a"})
    leave = packet.as_leave(hello)
    assert leave == packet.build({"key": "a.org", "address": "/a"}, leave=True)
    assert packet.is_leave(leave) and not packet.is_leave(hello)
