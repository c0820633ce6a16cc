"""The configurator's life: a thread waits for the feed, the main thread makes it so and reports."""

import threading
import time
from dataclasses import dataclass, field

from insula.configurator import boots, status
from insula.configurator.boots import Boots
from insula.configurator.duties import Duties
from insula.configurator.reconcile import Reconciler
from insula.emperor.daemon import http
from insula.emperor.daemon.desired import merged
from insula.emperor.daemon.feed import FeedClient, read_local
from insula.emperor.daemon.log import Log
from insula.emperor.errors import FeedError
from insula.emperor.kernel import process
from insula.emperor.settings import Node
from insula.vassals.report import NodeReport
from insula.vassals.spec import DesiredState

BOOT_POLL_SECONDS = 0.03
FEED_RETRY_SECONDS = (0.25, 5.0)


@dataclass
class Fetcher:
    """Polls the feed in a thread; ``news`` is set when the client's state is a new one."""

    client: FeedClient
    log: Log
    stopping: threading.Event
    news: threading.Event = field(default_factory=threading.Event)
    received_at: float = 0.0

    def start(self) -> None:
        # A daemon thread: a poll that waits half a minute must not hold up the end.
        threading.Thread(target=self._run, daemon=True, name="feed").start()

    def _run(self) -> None:
        wait, told = FEED_RETRY_SECONDS[0], ""
        while not self.stopping.is_set():
            try:
                if self.client.poll():
                    self.received_at = time.time()
                    self.news.set()
                wait, told = FEED_RETRY_SECONDS[0], ""
            except Exception as error:  # a daemon without this thread would be deaf
                if (str(error) or repr(error)) != told:
                    told = str(error) or repr(error)
                    self.log.warning("no feed, the containers stay as they are", error=told)
                self.stopping.wait(wait)
                wait = min(wait * 2, FEED_RETRY_SECONDS[1])


@dataclass
class Daemon:
    """The main thread: asks what is due, does it, and waits."""

    node: Node
    reconciler: Reconciler
    fetcher: Fetcher
    log: Log
    duties: Duties = field(default_factory=Duties)
    boots: Boots = field(default_factory=lambda: Boots({}))
    used_bytes: dict[int, int] = field(default_factory=dict)
    _local_mtime: int = 0

    def work(self) -> None:
        """One turn: apply what is due, look after what boots, report, then wait."""
        now = time.monotonic()
        desired = self.desired()
        self._apply(desired, now)
        self._watch_boots(desired)
        if self.duties.take_usage(now):
            self.write_usage()
        if self.duties.take_report(now):
            self._report(desired, now)
        self._wait()

    def desired(self) -> DesiredState:
        """The node's own objects and the last good feed."""
        return merged(read_local(self.node.paths.local_json), self.fetcher.client.state)

    def _apply(self, desired: DesiredState, now: float) -> None:
        is_full = self.duties.is_full_due(now) or self._keys_came(desired, now)
        is_news = self.fetcher.news.is_set()
        mtime = self.node.paths.local_json.stat().st_mtime_ns
        is_retry = self.duties.is_retry_due(now, has_errors=bool(self.reconciler.errors))
        if not (is_full or is_news or is_retry or mtime != self._local_mtime):
            return
        if is_news:
            self.fetcher.news.clear()
            desired = self.desired()
        full_before = self.duties.begin_round()
        received_at = self.fetcher.received_at or time.time()
        outcome = self.reconciler.round(desired, full=is_full, received_at=received_at)
        self.duties.end_round(now, is_full=is_full, full_before=full_before)
        self._local_mtime = mtime
        self.boots = Boots({**self.boots.written, **outcome.written}, self.boots.ending)

    def _keys_came(self, desired: DesiredState, now: float) -> bool:
        """Ask again for signing keys that the API did not give; True when it has now.

        Also when a change came with them: its round looks at changed containers alone, and the keys
        of the others would wait for the next full one.
        """
        keys = self.reconciler.keys
        if keys is None or self.duties.full == 0.0 or keys.is_complete(desired):
            return False
        keys.keys(desired, now=now)
        return keys.is_complete(desired)

    def _watch_boots(self, desired: DesiredState) -> None:
        """Report again as soon as what was just written runs, and wake the Emperor for it."""
        kernel = self.reconciler.kernel
        started = {
            spec.uid: status.started_at(kernel, spec)
            for spec in desired.containers
            if spec.uid in self.boots.written
        }
        found = boots.look(self.boots, started, now=time.clock_gettime(process.CLOCK))
        self.boots = found.boots
        if found.is_report_due:
            self.duties.report = 0.0
        if found.is_wake_due:
            self.reconciler.applier.hands.wake()

    def write_usage(self) -> None:
        """Read the disk usage of all containers and keep it for the collector."""
        storage = self.reconciler.kernel.storage
        self.used_bytes = storage.used_bytes()
        status.write_usage(self.node, self.used_bytes, storage.limits())

    def _report(self, desired: DesiredState, now: float) -> None:
        try:
            send_report(self.node, self.report(desired))
        except FeedError as error:
            self.log.warning("report not taken", error=error.message)
            self.duties.report_failed(now)

    def report(self, desired: DesiredState) -> NodeReport:
        """What is true now: never a revision that was fetched and not yet applied."""
        return status.node_report(
            self.node,
            self.reconciler.kernel,
            revision=self.reconciler.revision,
            specs=desired.containers,
            applied=self.reconciler.applied,
            errors=self.reconciler.remarks | self.reconciler.errors,
            used_bytes=self.used_bytes,
            booting=self.boots.written,
        )

    def _wait(self) -> None:
        if self.boots.written:
            self.fetcher.news.wait(BOOT_POLL_SECONDS)
            return
        has_errors = bool(self.reconciler.errors)
        left = self.duties.seconds_left(time.monotonic(), has_errors=has_errors)
        self.fetcher.news.wait(left)


def send_report(node: Node, report: NodeReport) -> None:
    """Give a report to the API. Raises FeedError."""
    http.call(
        node.paths.api_node / "api.sock", "POST", "/api/v1/node/report", report.to_json(), timeout=5
    )
