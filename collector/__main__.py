"""The collector: measures when Prometheus asks, and once a minute for the API."""

import argparse
import os
import selectors
import signal
import threading
import time
from pathlib import Path

from insula.collector.exposition import MetricsServer
from insula.collector.measuring import Measuring
from insula.collector.outbox import Outbox
from insula.emperor import settings
from insula.emperor.daemon import http, loop
from insula.emperor.daemon.beat import Beat
from insula.emperor.daemon.log import Log
from insula.emperor.kernel import privileges
from insula.emperor.settings import COLLECTOR_UID, NODE_GID, Node
from insula.vassals.report import Sample

PUSH_SECONDS = 60.0
# The same thread answers Prometheus: a hanging API may not hold it long.
API_SECONDS = 5.0


def main() -> None:
    loop.run(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="insula-collector", description=__doc__)
    parser.add_argument("--root", type=Path, default=settings.root_from_environment())
    node = settings.load(parser.parse_args().root)
    _drop_rights()
    log = Log("collector")
    stopping = loop.stop_on_signals()
    daemon = Daemon(node, log, stopping)
    log.info("collector started", socket=node.paths.collector / "metrics.sock")
    beat = Beat(node.paths.beats)
    loop.forever(daemon.turn, stopping=stopping, log=log, beat=beat)
    beat.end()
    daemon.close()


def _drop_rights() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NODE_GID)
        os.setuid(COLLECTOR_UID)
        # A change of uid forgets the tie to the parent.
        privileges.end_with_parent(signal.SIGKILL)


class Daemon:
    """Everything the loop owns."""

    def __init__(self, node: Node, log: Log, stopping: threading.Event) -> None:
        self.node = node
        self.stopping = stopping
        self.measuring = Measuring(node, log)
        self.outbox = Outbox(self._send, log)
        path = node.paths.collector / "metrics.sock"
        self.server = MetricsServer(path, self.measuring.round, log)
        self.push_due = time.monotonic()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.server, selectors.EVENT_READ)
        self._wake_on_signals()

    def turn(self) -> None:
        """Wait for a client or for the minute's end, and do what is due."""
        left = max(0.0, self.push_due - time.monotonic())
        for key, _ in self.selector.select(left):
            if key.fileobj is self.server:
                self.server.handle_request()
        if not self.stopping.is_set() and time.monotonic() >= self.push_due:
            self.push_due = time.monotonic() + PUSH_SECONDS
            self.outbox.put(self.measuring.round(), at=time.time())
            self.outbox.flush()

    def close(self) -> None:
        """Take the socket away."""
        self.server.server_close()
        self.server.path.unlink(missing_ok=True)

    def _wake_on_signals(self) -> None:
        # Without it a signal's handler runs, and select() goes on for the rest of the minute.
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.selector.register(reader, selectors.EVENT_READ)

    def _send(self, samples: list[Sample]) -> None:
        body = {"samples": [sample.to_json() for sample in samples]}
        path = self.node.paths.api_node / "api.sock"
        http.call(path, "POST", "/api/v1/node/samples", body, timeout=API_SECONDS)


if __name__ == "__main__":
    main()
