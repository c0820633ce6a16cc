"""The list of all metrics: names, kinds and meaning; docs/metrics.md shows the same table."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge"]
CONTAINER = ("customer", "container")
DOMAIN = ("domain",)
NODE_SUBJECT = "node"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family; ``name`` is the Prometheus name, with ``_total`` for counters.

    The last label is the subject: what the figure is about. Reads and writes, in and out are
    metrics of their own, so a name and a subject are enough to tell a series (see Sample).
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _container(name: str, kind: Kind, text: str) -> Metric:
    return Metric(f"insula_container_{name}", kind, text, CONTAINER)


def _domain(name: str, kind: Kind, text: str) -> Metric:
    return Metric(f"insula_domain_{name}", kind, text, DOMAIN)


def _node(name: str, kind: Kind, text: str) -> Metric:
    return Metric(f"insula_node_{name}", kind, text)


METRICS = (
    _container("up", "gauge", "1 while a process of the container lives, else 0."),
    _container("cpu_seconds_total", "counter", "CPU time used."),
    _container("memory_working_set_bytes", "gauge", "Memory in use, without idle file cache."),
    _container("memory_limit_bytes", "gauge", "The most memory it may use."),
    _container("memory_oom_kills_total", "counter", "Processes killed at the memory limit."),
    _container("pids", "gauge", "Processes and threads."),
    _container("io_read_bytes_total", "counter", "Bytes read from block devices."),
    _container("io_written_bytes_total", "counter", "Bytes written to block devices."),
    _container("io_reads_total", "counter", "Reads of block devices."),
    _container("io_writes_total", "counter", "Writes to block devices."),
    _container("network_received_bytes_total", "counter", "Bytes that the container received."),
    _container("network_sent_bytes_total", "counter", "Bytes that the container sent."),
    _container("disk_used_bytes", "gauge", "Disk space in use: home, /tmp and sockets."),
    _container("disk_limit_bytes", "gauge", "The most disk space it may use."),
    _domain("requests_total", "counter", "Requests that the router handed to the apps."),
    _domain("received_bytes_total", "counter", "Bytes from clients to the apps."),
    _domain("sent_bytes_total", "counter", "Bytes from the apps to clients."),
    _domain("nodes", "gauge", "Apps that answer for the domain now."),
    _node("containers", "gauge", "Containers that lie on the node."),
    _node("load1", "gauge", "Load average of one minute."),
    _node("memory_total_bytes", "gauge", "Memory of the machine."),
    _node("memory_available_bytes", "gauge", "Memory to be had without swapping."),
    _node("pool_size_bytes", "gauge", "Size of the file system that holds the containers."),
    _node("pool_free_bytes", "gauge", "Free space of that file system."),
    _node("isolation_probes_failed", "gauge", "Attacks that got through in the last run."),
    _node("isolation_run_timestamp_seconds", "gauge", "When that was (unix time)."),
    _node("collector_round_seconds", "gauge", "CPU time of the collector's last round."),
)
BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Reading:
    """One value at one moment; ``labels`` are in the order of its metric's labels."""

    metric: str
    labels: tuple[str, ...]
    value: float

    @property
    def subject(self) -> str:
        """The container's uid, the domain's name, or ``node``."""
        return self.labels[-1] if self.labels else NODE_SUBJECT
