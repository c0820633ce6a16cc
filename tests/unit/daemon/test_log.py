"""The daemons' log says a thing once a minute, not once a round."""

import io
import json

import pytest

from insula.emperor.daemon.log import Log


def test_the_same_warning_is_written_once_a_minute_with_its_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("insula.emperor.daemon.log.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    log = Log("tester", stream)
    for _ in range(5):
        log.warning("no room", path="/a")
        now[0] += 1
    log.warning("no room", path="/b")
    now[0] += 60
    log.warning("no room", path="/a")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["path"], line.get("repeated")) for line in lines] == [
        ("/a", None),
        ("/b", None),
        ("/a", 4),
    ]


def test_what_happened_is_written_each_time() -> None:
    stream = io.StringIO()
    log = Log("tester", stream)
    for _ in range(3):
        log.info("applied", uid=30001)
    assert len(stream.getvalue().splitlines()) == 3
