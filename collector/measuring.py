"""One round: every source is read once and becomes the readings of docs/metrics.md."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from insula.collector.counters import Totals
from insula.collector.metrics import BY_NAME, Reading
from insula.collector.sources import cgroup, machine, network, quota, router
from insula.emperor.daemon.log import Log
from insula.emperor.isolation import last
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError

T = TypeVar("T")
Value = tuple[str, float | None]
NO_PAIRS: dict[int, tuple[int, int]] = {}


class Measuring:
    """Reads the whole node; keeps what counters need from one round to the next."""

    def __init__(self, node: Node, log: Log) -> None:
        self.node = node
        self.log = log
        self.totals = Totals()
        self.failed: dict[str, str] = {}
        self.round_seconds = 0.0

    def round(self) -> list[Reading]:
        """All readings of this moment; a source that fails is logged and left out."""
        started = time.process_time()
        readings = [*self._containers(), *self._domains(), *self._machine()]
        self.totals.end_round()
        self.round_seconds = time.process_time() - started
        return readings

    def _containers(self) -> Iterator[Reading]:
        paths = self.node.paths
        prefix = self.node.link_prefix
        links = self._ask("network", lambda: network.network_bytes(prefix), NO_PAIRS)
        disks = self._ask("quota", lambda: quota.disk_usage(paths.usage_json), NO_PAIRS)
        groups = cgroup.groups(paths.cgroups(0).parent)
        for group in groups:
            labels = (group.customer, str(group.uid))
            values = (
                *cgroup_values(cgroup.figures(group)),
                *link_values(links.get(group.uid)),
                *disk_values(disks.get(group.uid)),
            )
            yield from self._readings("insula_container_", labels, values)
        yield Reading("insula_node_containers", (), len(groups))

    def _domains(self) -> Iterator[Reading]:
        nothing = router.Traffic(frozenset(), ())
        traffic = self._ask("router", lambda: router.traffic(self.node.paths.router_stats), nothing)
        alive: dict[str, set[str]] = {domain: set() for domain in traffic.domains}
        for app in traffic.apps:
            if app.is_alive:
                alive[app.domain].add(app.address)
            self._count_app(app)
        for domain, addresses in alive.items():
            yield Reading("insula_domain_nodes", (domain,), len(addresses))
            for name in ("requests", "received_bytes", "sent_bytes"):
                metric = f"insula_domain_{name}_total"
                yield Reading(metric, (domain,), self.totals.total((metric, domain)))

    def _count_app(self, app: router.AppFigures) -> None:
        origin = (app.pid, app.address)
        for name, value in (
            ("requests", app.requests),
            ("received_bytes", app.received_bytes),
            ("sent_bytes", app.sent_bytes),
        ):
            self.totals.add((f"insula_domain_{name}_total", app.domain), value, origin=origin)

    def _machine(self) -> Iterator[Reading]:
        found = machine.machine(self.node.paths.pool)
        walls = last.recall(self.node)
        values: tuple[Value, ...] = (
            ("load1", found.load1),
            ("memory_total_bytes", found.memory_total),
            ("memory_available_bytes", found.memory_available),
            ("pool_size_bytes", found.pool_size),
            ("pool_free_bytes", found.pool_free),
            ("isolation_probes_failed", None if walls is None else len(walls.failed)),
            ("isolation_run_timestamp_seconds", None if walls is None else walls.at),
            ("collector_round_seconds", self.round_seconds),
        )
        yield from self._readings("insula_node_", (), values)

    def _readings(
        self, prefix: str, labels: tuple[str, ...], values: Iterable[Value]
    ) -> Iterator[Reading]:
        for name, value in values:
            if value is None:
                continue
            metric = prefix + name
            if BY_NAME[metric].kind == "counter":
                value = self.totals.add((metric, labels[-1]), value)
            yield Reading(metric, labels, value)

    def _ask(self, source: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            found = read()
        except (InsulaError, OSError, ValueError) as error:
            # Once, not in every round: the log must not fill while something is broken.
            if self.failed.get(source) != str(error):
                self.log.warning("source failed", source=source, error=str(error))
            self.failed[source] = str(error)
            return otherwise
        if self.failed.pop(source, None) is not None:
            self.log.info("source is back", source=source)
        return found


def cgroup_values(found: cgroup.Figures) -> tuple[Value, ...]:
    """The readings that the cgroups give."""
    read, written = found.io_bytes or (None, None)
    reads, writes = found.io_operations or (None, None)
    return (
        ("up", float(found.is_up)),
        ("cpu_seconds_total", found.cpu_seconds),
        ("memory_working_set_bytes", found.working_set_bytes),
        ("memory_limit_bytes", found.memory_limit_bytes),
        ("memory_oom_kills_total", found.oom_kills),
        ("pids", found.pids),
        ("io_read_bytes_total", read),
        ("io_written_bytes_total", written),
        ("io_reads_total", reads),
        ("io_writes_total", writes),
    )


def link_values(found: tuple[int, int] | None) -> tuple[Value, ...]:
    """The readings that the container's link gives, none while it has no link."""
    received, sent = found or (None, None)
    return (("network_received_bytes_total", received), ("network_sent_bytes_total", sent))


def disk_values(found: tuple[int, int] | None) -> tuple[Value, ...]:
    """The readings that the quota gives; -1 stands for unknown."""
    used, limit = found or (-1, -1)
    return (
        ("disk_used_bytes", used if used >= 0 else None),
        ("disk_limit_bytes", limit if limit >= 0 else None),
    )
