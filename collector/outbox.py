"""Samples on their way to the API: only what changed, in batches, kept while the API is away."""

from collections import deque
from collections.abc import Callable, Iterable

from insula.collector.metrics import Reading
from insula.emperor.daemon.log import Log
from insula.emperor.errors import FeedError
from insula.vassals.report import Sample

BATCH_SAMPLES = 5_000
KEPT_SAMPLES = 40_000
# An unchanged value is repeated so often: of an idle container most figures stand still.
REPEAT_SECONDS = 600.0

Send = Callable[[list[Sample]], None]


class Outbox:
    """A bounded queue; when it is full the oldest samples go first."""

    def __init__(self, send: Send, log: Log) -> None:
        self.send = send
        self.log = log
        self.samples: deque[Sample] = deque()
        self.is_away = False
        self._told: dict[tuple[str, str], tuple[float, float]] = {}

    def put(self, readings: Iterable[Reading], *, at: float) -> None:
        """Queue what changed since it was queued last, or long ago."""
        told: dict[tuple[str, str], tuple[float, float]] = {}
        for reading in readings:
            key = (reading.metric, reading.subject)
            before = self._told.get(key)
            if before is not None and before[0] == reading.value and at < before[1]:
                told[key] = before
                continue
            told[key] = (reading.value, at + REPEAT_SECONDS)
            self.samples.append(Sample(at, reading.metric, reading.subject, reading.value))
        self._told = told
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        dropped = max(0, len(self.samples) - KEPT_SAMPLES)
        for _ in range(dropped):
            self.samples.popleft()
        if dropped:
            self.log.warning("samples dropped, the API is away too long", samples=dropped)

    def flush(self) -> None:
        """Send all that is queued; what the API does not take stays for the next time."""
        while self.samples:
            count = min(BATCH_SAMPLES, len(self.samples))
            try:
                self.send([self.samples[i] for i in range(count)])
            except FeedError as error:
                if not self.is_away:
                    self.log.warning("samples not taken, kept", error=error.message)
                self.is_away = True
                return
            for _ in range(count):
                self.samples.popleft()
        if self.is_away:
            self.log.info("samples taken again")
        self.is_away = False
