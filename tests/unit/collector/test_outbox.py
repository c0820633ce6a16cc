"""Samples reach the API once, in order, and never fill the memory."""

import io
import json

from insula.collector.metrics import Reading
from insula.collector.outbox import BATCH_SAMPLES, KEPT_SAMPLES, REPEAT_SECONDS, Outbox
from insula.emperor.daemon.log import Log
from insula.emperor.errors import FeedError
from insula.vassals.report import Sample


class FakeApi:
    """Takes batches, or is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.batches: list[list[Sample]] = []

    def __repr__(self) -> str:
        return f"FakeApi(is_away={self.is_away}, batches={self.batches})"

    def __call__(self, samples: list[Sample]) -> None:
        if self.is_away:
            raise FeedError("the API is away")
        self.batches.append(samples)

    @property
    def values(self) -> list[float]:
        return [sample.value for batch in self.batches for sample in batch]


def outbox_of(api: FakeApi) -> tuple[Outbox, io.StringIO]:
    stream = io.StringIO()
    return Outbox(api, Log("collector", stream)), stream


def pids(value: float, uid: int = 30001) -> Reading:
    return Reading("insula_container_pids", ("1", str(uid)), value)


def test_a_reading_becomes_a_sample_of_its_subject() -> None:
    api = FakeApi()
    outbox, _ = outbox_of(api)
    outbox.put([pids(3), Reading("insula_node_load1", (), 0.5)], at=100.0)
    outbox.flush()
    assert api.batches == [
        [
            Sample(100.0, "insula_container_pids", "30001", 3),
            Sample(100.0, "insula_node_load1", "node", 0.5),
        ]
    ]


def test_what_does_not_change_is_repeated_rarely() -> None:
    api = FakeApi()
    outbox, _ = outbox_of(api)
    for at in (0.0, 60.0, REPEAT_SECONDS - 1, REPEAT_SECONDS, REPEAT_SECONDS + 60):
        outbox.put([pids(3)], at=at)
    outbox.flush()
    assert [sample.at for sample in api.batches[0]] == [0.0, REPEAT_SECONDS]


def test_a_change_is_sent_at_once() -> None:
    api = FakeApi()
    outbox, _ = outbox_of(api)
    for at, value in ((0.0, 3), (60.0, 4), (120.0, 3)):
        outbox.put([pids(value)], at=at)
    outbox.flush()
    assert api.values == [3, 4, 3]


def test_samples_wait_for_an_api_that_is_away_and_arrive_in_order() -> None:
    api = FakeApi()
    outbox, stream = outbox_of(api)
    api.is_away = True
    for value in (1, 2, 3):
        outbox.put([pids(value)], at=value * 60.0)
        outbox.flush()
    api.is_away = False
    outbox.flush()
    assert api.values == [1, 2, 3]
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["samples not taken, kept", "samples taken again"]


def test_a_batch_is_bounded() -> None:
    api = FakeApi()
    outbox, _ = outbox_of(api)
    outbox.put([pids(1, uid) for uid in range(BATCH_SAMPLES + 1)], at=0.0)
    outbox.flush()
    assert [len(batch) for batch in api.batches] == [BATCH_SAMPLES, 1]


def test_a_full_outbox_drops_the_oldest_and_says_so() -> None:
    api = FakeApi()
    outbox, stream = outbox_of(api)
    outbox.put([pids(1, uid) for uid in range(KEPT_SAMPLES + 7)], at=0.0)
    assert len(outbox.samples) == KEPT_SAMPLES
    assert outbox.samples[0].subject == "7"
    assert json.loads(stream.getvalue())["samples"] == 7
