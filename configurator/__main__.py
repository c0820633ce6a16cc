"""``insula-configurator``: fetch the desired state, plan, apply, report, wait."""

import argparse
import sys
import time
from pathlib import Path

from insula.configurator.daemon import Daemon, Fetcher, send_report
from insula.configurator.keys import KeyStore, ask_operator
from insula.configurator.reconcile import Reconciler, locked, reap_all, reconciler
from insula.configurator.wake import Waker, wake
from insula.emperor.daemon import loop
from insula.emperor.daemon.beat import Beat
from insula.emperor.daemon.desired import merged
from insula.emperor.daemon.feed import FeedClient, fetch_from, read_local
from insula.emperor.daemon.log import Log
from insula.emperor.errors import FeedError
from insula.emperor.kernel.beneath import refuse_paths
from insula.emperor.settings import Node, load, root_from_environment


def main() -> None:
    """The entry point; an error is printed as two lines."""
    loop.run(lambda: _main(_arguments(sys.argv[1:])))


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="insula-configurator", description=__doc__)
    parser.add_argument("--root", type=Path, default=None, help="the node's root (default /)")
    parser.add_argument("--once", action="store_true", help="fetch, apply, report, and end")
    parser.add_argument(
        "--restore", action="store_true", help="reap, then apply the last known state, and end"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    parser.add_argument("--check-config", action="store_true", help="read the settings, and end")
    return parser.parse_args(words)


def _main(arguments: argparse.Namespace) -> None:
    node = load(arguments.root.resolve() if arguments.root else root_from_environment())
    refuse_paths(node.paths)
    log = Log("configurator")
    client = FeedClient(
        fetch_from(node.paths.api_node / "api.sock"),
        node.paths.lib / "feed-configurator.json",
    )
    client.load()
    if arguments.check_config:
        reconciler(node, log=log, keys=None, wake=lambda: None)
        print(f"{node.paths.node_toml}: ok")
    elif arguments.restore:
        restore(node, client, log)
    elif arguments.dry_run:
        dry_run(node, client, log)
    elif arguments.once:
        once(node, client, log)
    else:
        forever(node, client, log)


def forever(node: Node, client: FeedClient, log: Log) -> None:
    """Until a signal: apply each new state, report, keep the usage for the collector."""
    stopping = loop.stop_on_signals()
    fetcher = Fetcher(client, log, stopping)
    waker = Waker(node.paths.containers_stats)
    parts = reconciler(node, log=log, keys=_key_store(node, log), wake=waker)
    daemon = Daemon(node, parts, fetcher, log)
    fetcher.start()
    log.info("started", node=str(node.paths.root), cgroups=parts.kernel.cgroups.version)
    beat = Beat(node.paths.beats)
    loop.forever(daemon.work, stopping=stopping, log=log, beat=beat)
    beat.end()
    log.info("stopped")


def once(node: Node, client: FeedClient, log: Log) -> None:
    """Fetch without waiting, apply everything, report; exit code 1 when a container failed."""
    parts = reconciler(
        node,
        log=log,
        keys=_key_store(node, log),
        wake=lambda: wake(node.paths.containers_stats),
    )
    _fetch_now(client, log)
    daemon = Daemon(node, parts, Fetcher(client, log, loop.stop_on_signals()), log)
    desired = daemon.desired()
    outcome = parts.round(desired, full=True, received_at=time.time())
    daemon.write_usage()
    try:
        send_report(node, daemon.report(desired))
    except FeedError as error:
        log.warning("report not taken", error=error.message)
    if outcome.errors:
        sys.exit(1)


def restore(node: Node, client: FeedClient, log: Log) -> None:
    """Before the containers Emperor starts: nothing left of the last one, everything ready."""
    parts: Reconciler = reconciler(node, log=log, keys=None, wake=lambda: None)
    with locked(node.paths.run / "configurator.lock"):
        reap_all(parts.kernel, log)
    desired = merged(read_local(node.paths.local_json), client.state)
    outcome = parts.round(desired, full=True, received_at=time.time())
    log.info("restored", containers=len(desired.containers), failed=len(outcome.errors))


def dry_run(node: Node, client: FeedClient, log: Log) -> None:
    """Print the plan and change nothing, not even the feed's cache."""
    parts = reconciler(node, log=log, keys=None, wake=lambda: None)
    desired = merged(read_local(node.paths.local_json), client.state)
    todo, _ = parts.decide(desired, full=True)
    for action in todo.actions:
        print(action.describe())
    for uid, error in todo.refused.items():
        print(f"{uid}: refused: {error.message}")


def _fetch_now(client: FeedClient, log: Log) -> None:
    fetch = client.fetch
    # since=-1 is answered at once; a state that is no newer changes nothing.
    client.fetch = lambda _: fetch(-1)
    try:
        client.poll()
    except FeedError as error:
        log.warning("no feed, the last known state counts", error=error.message)


def _key_store(node: Node, log: Log) -> KeyStore:
    return KeyStore(
        ask_operator(node.paths.api_operator / "api.sock"),
        log,
        node.paths.secrets / "api-signing.pem",
    )


if __name__ == "__main__":
    main()
