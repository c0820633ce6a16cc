"""A round reads every source, survives one that is broken, and speaks Prometheus' language."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest

from insula.collector.exposition import ReadingsCollector
from insula.collector.measuring import Measuring
from insula.collector.metrics import Reading
from insula.collector.sources import router
from insula.emperor.daemon.log import Log
from insula.emperor.settings import Node, NodeSettings, Paths
from insula.vassals.errors import InvalidValue


class FakeRouter:
    """What the router's processes answer in the coming rounds."""

    def __init__(self, *rounds: tuple[router.AppFigures, ...]) -> None:
        self.rounds = iter(rounds)

    def __call__(self, directory: Path) -> router.Traffic:
        apps = next(self.rounds)
        return router.Traffic(frozenset({"a.test", "idle.test"}), apps)


def app(pid: int, requests: int, *, is_alive: bool = True) -> router.AppFigures:
    return router.AppFigures(pid, "a.test", "/a.sock", is_alive, requests, 0, 0)


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def measuring(tmp_path: Path, log: io.StringIO) -> Iterator[Measuring]:
    found = Measuring(Node(Paths(tmp_path), NodeSettings()), Log("collector", log))
    found.node.paths.cgroups(0).parent.mkdir(parents=True)
    yield found


def value(readings: list[Reading], metric: str, subject: str) -> float:
    return next(r.value for r in readings if (r.metric, r.subject) == (metric, subject))


def test_a_domains_requests_are_those_of_all_router_processes(
    measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = FakeRouter((app(1, 10), app(2, 5)), (app(1, 11), app(9, 1)))
    monkeypatch.setattr(router, "traffic", rounds)
    found = [measuring.round() for _ in range(2)]
    # process 2 was replaced by 9: what it had counted is not lost
    assert [value(item, "insula_domain_requests_total", "a.test") for item in found] == [15, 17]
    assert value(found[1], "insula_domain_nodes", "a.test") == 1


def test_a_domain_that_nobody_announces_has_no_nodes(
    measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "traffic", FakeRouter((app(1, 3, is_alive=False),)))
    found = measuring.round()
    assert value(found, "insula_domain_nodes", "idle.test") == 0
    assert value(found, "insula_domain_nodes", "a.test") == 0
    assert value(found, "insula_domain_requests_total", "a.test") == 3


def test_a_broken_source_is_logged_once_and_costs_no_other_figure(
    measuring: Measuring, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(directory: Path) -> router.Traffic:
        raise InvalidValue("router: the stats are not JSON")

    monkeypatch.setattr(router, "traffic", broken)
    measuring.round()
    found = measuring.round()
    assert value(found, "insula_node_containers", "node") == 0
    monkeypatch.setattr(router, "traffic", FakeRouter(()))
    measuring.round()
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events == ["source failed", "source is back"]


def test_the_text_is_what_prometheus_reads() -> None:
    readings = [
        Reading("insula_container_cpu_seconds_total", ("7", "30001"), 2.5),
        Reading("insula_domain_nodes", (".a.test",), 2),
    ]
    lines = generate_latest(ReadingsCollector(lambda: readings)).decode().splitlines()
    assert lines == [
        "# HELP insula_container_cpu_seconds_total CPU time used.",
        "# TYPE insula_container_cpu_seconds_total counter",
        'insula_container_cpu_seconds_total{container="30001",customer="7"} 2.5',
        "# HELP insula_domain_nodes Apps that answer for the domain now.",
        "# TYPE insula_domain_nodes gauge",
        'insula_domain_nodes{domain=".a.test"} 2.0',
    ]
