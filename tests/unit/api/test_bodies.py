"""A slow sender holds no thread."""

import socket
from collections.abc import Iterator

import pytest
from django.core.handlers.wsgi import LimitedStream

from insula.api.bodies import BODY_SECONDS, TimelyBody


class Pipe:
    """Two ends; reading as uWSGI does, which waits for all that is asked for."""

    def __init__(self) -> None:
        self.far, self.near = socket.socketpair()
        self.now = 0.0
        self.asked: list[int] = []

    def read(self, size: int, /) -> bytes:
        self.asked.append(size)
        return self.near.recv(size, socket.MSG_WAITALL)

    def clock(self) -> float:
        # Each look at the clock is a second later.
        self.now += 1
        return self.now

    def body(self) -> TimelyBody:
        return TimelyBody(self, self.near.fileno(), self.clock)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.far.close()
    pipe.near.close()


def test_what_is_there_is_read(pipe: Pipe) -> None:
    pipe.far.sendall(b"hello")
    body = pipe.body()
    assert (body.read(2), body.read(3)) == (b"he", b"llo")


def test_django_takes_it_for_a_body(pipe: Pipe) -> None:
    pipe.far.sendall(b"one\ntwo and more")
    stream = LimitedStream(pipe.body(), 7)  # type: ignore[arg-type]  # Django wants no more than read and readline
    assert (stream.readline(), stream.read(100), stream.read(100)) == (b"one\n", b"two", b"")


def test_only_what_is_at_hand_is_asked_for(pipe: Pipe) -> None:
    pipe.far.sendall(b"hello")
    pipe.far.shutdown(socket.SHUT_WR)
    assert pipe.body().read(1000) == b"hello"
    assert pipe.asked == [5, 1]


def test_a_sender_that_has_ended_gives_nothing(pipe: Pipe) -> None:
    pipe.far.close()
    assert pipe.body().read(10) == b""


class Keeping(Pipe):
    """Has read the begin of the body already, as uWSGI has."""

    kept = b"kept "

    def read(self, size: int, /) -> bytes:
        self.kept, found = self.kept[size:], self.kept[:size]
        return found or super().read(size)


@pytest.mark.parametrize("rest", [b"", b"and more"])
def test_what_uwsgi_keeps_is_read_first(rest: bytes) -> None:
    pipe = Keeping()
    pipe.clock = lambda: 0.0  # type: ignore[method-assign]  # time stands still
    pipe.far.sendall(rest)
    assert pipe.body().read(5 + len(rest)) == b"kept " + rest
    pipe.far.close()
    pipe.near.close()


class Trickle(Pipe):
    """A byte comes with every one that is read."""

    def read(self, size: int, /) -> bytes:
        self.far.sendall(b"x")
        return super().read(size)


def test_a_trickle_ends_in_time() -> None:
    pipe = Trickle()
    pipe.far.sendall(b"x")
    with pytest.raises(TimeoutError):
        pipe.body().read(65536)
    assert len(pipe.asked) <= BODY_SECONDS
    pipe.far.close()
    pipe.near.close()


def test_a_body_that_nobody_wants_has_less_time(pipe: Pipe) -> None:
    pipe.far.sendall(b"x" * 10)
    body = pipe.body()
    body.hurry(-1)
    with pytest.raises(TimeoutError):
        body.read(10)
