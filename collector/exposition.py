"""Serves the readings as Prometheus text, over HTTP on a UNIX socket."""

import os
import socketserver
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from insula.collector.metrics import METRICS, Reading
from insula.emperor.daemon.log import Log

Measure = Callable[[], list[Reading]]
# One client after the other is served: one that stalls must not keep the others waiting.
CLIENT_SECONDS = 5.0
# root and the node's group: the figures name customers' domains.
SOCKET_MODE = 0o660


class ReadingsCollector(Collector):
    """Turns one round into the families of prometheus-client."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for metric in METRICS:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            families[metric.name] = kind(metric.name, metric.help, labels=metric.labels)
        labels = {metric.name: metric.labels for metric in METRICS}
        for reading in self.measure():
            name = reading.metric
            named = dict(zip(labels[name], reading.labels, strict=True))
            families[name].add_sample(name, named, reading.value)
        return iter(family for family in families.values() if family.samples)


class MetricsServer(socketserver.UnixStreamServer):
    """Answers ``GET /metrics``; each answer is measured at that moment."""

    def __init__(self, path: Path, measure: Measure, log: Log) -> None:
        self.path = path
        self.log = log
        self.collector = ReadingsCollector(measure)
        path.unlink(missing_ok=True)
        super().__init__(str(path), MetricsHandler)

    def server_bind(self) -> None:
        # Never open wider, not even between bind and chmod.
        before = os.umask(0o777 & ~SOCKET_MODE)
        try:
            super().server_bind()
        finally:
            os.umask(before)

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that hangs up or stalls; the next one is served.
        self.log.warning("client not served", error=repr(sys.exc_info()[1]))

    def text(self) -> bytes:
        """The Prometheus text of a new round."""
        return generate_latest(self.collector)


class MetricsHandler(BaseHTTPRequestHandler):
    """One request; nothing is logged for one that succeeds."""

    timeout = CLIENT_SECONDS
    server: MetricsServer

    def do_GET(self) -> None:
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self.send_error(404, "the figures are at /metrics")
            return
        body = self.server.text()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        return
