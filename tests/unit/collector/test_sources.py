"""Each source reads what the kernel, the router and the configurator write."""

import json
from pathlib import Path

import pytest

from insula.collector.sources import cgroup, machine, network, quota, router
from insula.emperor.errors import StorageError
from insula.vassals.errors import InvalidValue

V2 = {
    "cgroup.controllers": "cpu io memory pids\n",
    "cgroup.events": "populated 1\nfrozen 0\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    "memory.current": "5000\n",
    "memory.max": "536870912\n",
    "memory.stat": "anon 3000\nfile 2000\ninactive_anon 7\ninactive_file 1500\n",
    "memory.events": "low 0\noom 2\noom_kill 3\noom_group_kill 0\n",
    "pids.current": "4\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n",  # noqa: E501 - the kernel's own line
}
V1 = {
    "memory/memory.usage_in_bytes": "5000\n",
    "memory/memory.limit_in_bytes": "536870912\n",
    "memory/memory.stat": "cache 1\ninactive_file 5\ntotal_inactive_file 1500\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "cpuacct/cpuacct.usage": "2500000000\n",
    "pids/pids.current": "4\n",
    "blkio/blkio.throttle.io_service_bytes": "8:0 Read 11\n8:0 Write 22\n8:0 Total 33\nTotal 33\n",
    "blkio/blkio.throttle.io_serviced": "8:0 Read 4\n8:0 Write 5\nTotal 9\n",
}
BOTH = {
    "is_up": True, "cpu_seconds": 2.5, "working_set_bytes": 3500,
    "memory_limit_bytes": 536870912, "oom_kills": 3, "pids": 4,
    "io_bytes": (11, 22), "io_operations": (4, 5),
}  # fmt: skip


def container(tmp_path: Path, files: dict[str, str], names: tuple[str, ...]) -> cgroup.Group:
    """A container 30001 of customer 7 with these cgroup files."""
    groups = [tmp_path / "cg" / name / "insula/7/30001" for name in names]
    for name, content in files.items():
        controller, _, file = name.rpartition("/")
        directory = tmp_path / "cg" / controller / "insula/7/30001"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(content)
    listing = tmp_path / "cgroups"
    listing.mkdir()
    (listing / "30001").write_text("".join(f"{group}\n" for group in groups))
    (listing / ".30002.99").write_text("unfinished")
    (found,) = cgroup.groups(listing)
    return found


def figures(found: cgroup.Group) -> dict[str, object]:
    values = cgroup.figures(found)
    return {name: getattr(values, name) for name in BOTH}


def test_cgroup_v2_gives_all_figures(tmp_path: Path) -> None:
    found = container(tmp_path, V2, ("",))
    assert (found.uid, found.customer) == (30001, "7")
    assert figures(found) == BOTH


def test_cgroup_v1_gives_the_same_figures(tmp_path: Path) -> None:
    found = container(tmp_path, V1, ("memory", "cpuacct", "pids", "blkio"))
    assert (found.uid, found.customer) == (30001, "7")
    assert figures(found) == BOTH


def test_a_container_that_goes_away_in_the_round_has_no_figures(tmp_path: Path) -> None:
    found = container(tmp_path, V2, ("",))
    for name in V2:
        (tmp_path / "cg/insula/7/30001" / name).unlink()
    assert figures(found) == dict.fromkeys(BOTH) | {"is_up": False}


def test_no_limit_is_no_figure_on_either_version(tmp_path: Path) -> None:
    v2 = container(tmp_path, V2 | {"memory.max": "max\n"}, ("",))
    assert cgroup.figures(v2).memory_limit_bytes is None
    unlimited = {"memory/memory.limit_in_bytes": "9223372036854771712\n"}
    other = tmp_path / "other"
    v1 = container(other, V1 | unlimited, ("memory", "cpuacct", "pids"))
    assert cgroup.figures(v1).memory_limit_bytes is None


def test_a_node_without_containers_has_no_groups(tmp_path: Path) -> None:
    assert cgroup.groups(tmp_path / "missing") == []


def test_received_and_sent_are_as_the_container_sees_them(tmp_path: Path) -> None:
    table = tmp_path / "dev"
    table.write_text(
        "Inter-|   Receive                            |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
        "    lo: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n"
        "ins-30001: 100 9 0 0 0 0 0 0 900 8 0 0 0 0 0 0\n"
        "ins11a4-30001: 5 9 0 0 0 0 0 0 6 8 0 0 0 0 0 0\n"
        "ins-9: 5 9 0 0 0 0 0 0 6 8 0 0 0 0 0 0\n"
    )
    assert network.network_bytes("ins-", path=str(table)) == {30001: (900, 100)}


def test_disk_usage_is_read_as_the_configurator_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "usage.json"
    assert quota.disk_usage(path) == {}
    path.write_text('{"30001": {"used_bytes": 5, "limit_bytes": -1}}')
    assert quota.disk_usage(path) == {30001: (5, -1)}


@pytest.mark.parametrize("content", ["", "[]", '{"30001": 5}', '{"30001": {"used_bytes": "5"}}'])
def test_broken_disk_usage_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "usage.json"
    path.write_text(content)
    with pytest.raises((StorageError, InvalidValue)):
        quota.disk_usage(path)


def stats(pid: int, *slots: tuple[str, list[dict[str, object]]]) -> bytes:
    subscriptions = [{"key": key, "hash": 1, "hits": 9, "nodes": nodes} for key, nodes in slots]
    return json.dumps({"version": "2.0.31", "pid": pid, "subscriptions": subscriptions}).encode()


def app(requests: int, *, death_mark: int = 0) -> dict[str, object]:
    return {"name": "/a.sock", "requests": requests, "tx": 10, "rx": 200, "death_mark": death_mark}


def test_an_apps_traffic_is_named_from_the_clients_side() -> None:
    (found,) = router.parse(stats(5, ("a.test", [app(3)]))).apps
    assert (found.pid, found.domain, found.requests) == (5, "a.test", 3)
    assert (found.received_bytes, found.sent_bytes) == (10, 200)


def test_the_platforms_own_pages_are_not_apps() -> None:
    found = router.parse(stats(5, ("mapped/.b.test", [app(3)]), ("unknown/", [app(8)])))
    assert found.apps == ()
    assert found.domains == {".b.test"}


def test_a_dead_app_is_told_from_a_living_one() -> None:
    found = router.parse(stats(5, ("a.test", [app(3), app(1, death_mark=1)])))
    assert [item.is_alive for item in found.apps] == [True, False]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"pid": 1, "subscriptions": [1]}'])
def test_a_broken_answer_of_the_router_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue):
        router.parse(data)


def test_a_machine_without_a_pool_still_has_its_other_figures(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 4 kB\nMemAvailable: 2 kB\nHugePages_Total: 0\n")
    (tmp_path / "loadavg").write_text("0.25 0.1 0.1 1/99 1234\n")
    found = machine.machine(tmp_path / "missing", proc=str(tmp_path))
    assert found == machine.Machine(0.25, 4096, 2048, 0, 0)
