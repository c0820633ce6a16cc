"""What the daemons' HTTP client makes of strange answers."""

import http.client
import io
from pathlib import Path

import pytest

from insula.emperor.daemon.http import UnixConnection, call
from insula.emperor.errors import FeedError


class _Answer(io.BytesIO):
    status, reason = 200, "OK"


@pytest.mark.parametrize("body", [b"{", b"[" * 200_000, b"9" * 5000, b"\xff"])
def test_an_answer_that_cannot_be_read_is_a_failed_request(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Any other error would end the thread that waits for the feed, and nobody would see it."""
    monkeypatch.setattr(UnixConnection, "request", lambda *_: None)
    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", lambda *_: _Answer(body))
    with pytest.raises(FeedError, match="is not JSON"):
        call(Path("/nowhere"), "GET", "/feed")
