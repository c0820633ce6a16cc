"""The configurator's life: a thread waits for the feed, the main thread makes it so and reports."""

import threading
import time
from dataclasses import dataclass, field

from insula.configurator import status
from insula.configurator.reconcile import Reconciler
from insula.emperor.daemon import http
from insula.emperor.daemon.feed import FeedClient, merged, read_local
from insula.emperor.daemon.log import Log
from insula.emperor.errors import FeedError
from insula.emperor.settings import Node
from insula.vassals.report import NodeReport
from insula.vassals.spec import ContainerSpec, DesiredState

FULL_SECONDS = 300.0
USAGE_SECONDS = 30.0
REPORT_SECONDS = 60.0
RETRY_SECONDS = 10.0
BOOT_POLL_SECONDS = 0.03
BOOT_GIVEN_UP_SECONDS = 20.0
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
            except (FeedError, OSError) as error:
                if str(error) != told:
                    told = str(error)
                    self.log.warning("no feed, the containers stay as they are", error=told)
                self.stopping.wait(wait)
                wait = min(wait * 2, FEED_RETRY_SECONDS[1])


@dataclass
class Daemon:
    """The main thread's state: when each of its duties is due, on the monotonic clock."""

    node: Node
    reconciler: Reconciler
    fetcher: Fetcher
    log: Log
    booting: dict[int, float] = field(default_factory=dict)
    used_bytes: dict[int, int] = field(default_factory=dict)
    _ending: set[int] = field(default_factory=set)
    _full_due: float = 0.0
    _retry_due: float = 0.0
    _usage_due: float = 0.0
    _report_due: float = 0.0
    _local_mtime: int = 0

    def work(self) -> None:
        """One turn: apply what is due, look after what boots, report, then wait."""
        now = time.monotonic()
        desired = self.desired()
        self._apply(desired, now)
        self._watch_boots(desired, now)
        self._write_usage(now)
        self._report(desired, now)
        self._wait()

    def desired(self) -> DesiredState:
        """The node's own objects and the last good feed."""
        return merged(read_local(self.node.paths.local_json), self.fetcher.client.state)

    def _apply(self, desired: DesiredState, now: float) -> None:
        full = now >= self._full_due or self._keys_came(desired, now)
        news = self.fetcher.news.is_set()
        mtime = self.node.paths.local_json.stat().st_mtime_ns
        retry = now >= self._retry_due and bool(self.reconciler.errors)
        if not (full or news or retry or mtime != self._local_mtime):
            return
        if news:
            self.fetcher.news.clear()
            desired = self.desired()
        # Both are set back when the round is through: one that fails whole is made again, in full.
        full_due, self._full_due = self._full_due, 0.0
        received_at = self.fetcher.received_at or time.time()
        outcome = self.reconciler.round(desired, full=full, received_at=received_at)
        self._local_mtime = mtime
        self._full_due = now + FULL_SECONDS if full else full_due
        self._retry_due = now + RETRY_SECONDS
        self.booting |= outcome.written
        self._report_due = 0.0

    def _keys_came(self, desired: DesiredState, now: float) -> bool:
        """Ask again for signing keys that the API did not give; True when it has now."""
        keys = self.reconciler.keys
        if keys is None or self._full_due == 0.0 or keys.is_complete(desired):
            return False
        keys.keys(desired, now=now)
        return keys.is_complete(desired) and not self.fetcher.news.is_set()

    def _watch_boots(self, desired: DesiredState, now: float) -> None:
        """Report again as soon as what was just written runs: somebody waits for it."""
        specs = {spec.uid: spec for spec in desired.containers}
        for uid, written_at in list(self.booting.items()):
            spec = specs.get(uid)
            since = self._runs_since(spec) if spec else 0.0
            if spec is None or since >= written_at - status.START_SLACK_SECONDS:
                del self.booting[uid]
                self._report_due = 0.0
            elif time.time() - written_at > BOOT_GIVEN_UP_SECONDS:
                del self.booting[uid]
            elif since:
                self._ending.add(uid)
            elif uid in self._ending:
                # The Emperor looked while the old instance still ended; by itself it looks again
                # three seconds later.
                self.reconciler.applier.wake()
        self._ending &= set(self.booting)

    def _runs_since(self, spec: ContainerSpec) -> float:
        return status.running_since(self.reconciler.kernel, spec)

    def _write_usage(self, now: float) -> None:
        if now >= self._usage_due:
            self._usage_due = now + USAGE_SECONDS
            self.write_usage()

    def write_usage(self) -> None:
        """Read the disk usage of all containers and keep it for the collector."""
        storage = self.reconciler.kernel.storage
        self.used_bytes = storage.used_bytes()
        status.write_usage(self.node, self.used_bytes, storage.limits())

    def _report(self, desired: DesiredState, now: float) -> None:
        if now < self._report_due:
            return
        self._report_due = now + REPORT_SECONDS
        try:
            send_report(self.node, self.report(desired))
        except FeedError as error:
            self.log.warning("report not taken", error=error.message)
            self._report_due = now + RETRY_SECONDS

    def report(self, desired: DesiredState) -> NodeReport:
        return status.node_report(
            self.node,
            self.reconciler.kernel,
            revision=self.fetcher.client.state.revision if self.fetcher.client.state else 0,
            specs=desired.containers,
            applied=self.reconciler.applied,
            errors=self.reconciler.errors,
            used_bytes=self.used_bytes,
            booting=self.booting,
        )

    def _wait(self) -> None:
        if self.booting:
            self.fetcher.news.wait(BOOT_POLL_SECONDS)
            return
        dues = [self._full_due, self._usage_due, self._report_due]
        if self.reconciler.errors:
            dues.append(self._retry_due)
        # A second at most: a signal and a new local.json are seen then.
        self.fetcher.news.wait(max(0.0, min(1.0, min(dues) - time.monotonic())))


def send_report(node: Node, report: NodeReport) -> None:
    """Give a report to the API. Raises FeedError."""
    http.call(
        node.paths.api_node / "api.sock", "POST", "/api/v1/node/report", report.to_json(), timeout=5
    )
