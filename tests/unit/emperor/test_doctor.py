"""The doctor's findings about a node that exists: secrets, pool, what runs."""

import os
from pathlib import Path

import pytest

from insula.emperor import check, credentials, doctor, service, status
from insula.emperor.kernel import mounts
from insula.emperor.settings import Node, NodeSettings, Paths


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(Paths(tmp_path), NodeSettings())


def test_without_yama_the_warning_says_what_it_means(tmp_path: Path) -> None:
    found = doctor.ptrace_scope(tmp_path / "none")
    assert (found.state, found.detail) == ("warn", "the kernel has no yama")
    assert "other containers stay out of reach" in found.remedy


@pytest.mark.parametrize(("value", "state"), [("0\n", "warn"), ("1\n", "ok"), ("3\n", "ok")])
def test_ptrace_scope_0_is_a_warning(tmp_path: Path, value: str, state: str) -> None:
    path = tmp_path / "ptrace_scope"
    path.write_text(value)
    assert doctor.ptrace_scope(path).state == state


@pytest.mark.parametrize(("value", "state"), [("2466170\n", "warn"), (f"{(1 << 63) - 1}\n", "ok")])
def test_a_small_table_of_open_files_is_a_warning(tmp_path: Path, value: str, state: str) -> None:
    path = tmp_path / "file-max"
    path.write_text(value)
    assert doctor.open_files(path).state == state


def test_secrets_that_others_could_read_fail_and_must_be_replaced(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "wrong_rights", lambda _: ["secret-key: 0644"])
    found = doctor.secrets(node)
    assert (found.state, found.detail) == ("fail", "secret-key: 0644")
    assert "replace them" in found.remedy


def test_an_unmounted_pool_is_a_warning_that_tells_how_to_start(node: Node) -> None:
    found = doctor.pool(node)
    assert (found.state, found.remedy) == ("warn", "bin/up starts the node")


@pytest.mark.parametrize(("free_blocks", "state"), [(4, "fail"), (5, "ok"), (100, "ok")])
def test_a_pool_with_less_than_a_twentieth_free_fails(
    node: Node, monkeypatch: pytest.MonkeyPatch, free_blocks: int, state: str
) -> None:
    node.paths.containers.mkdir(parents=True)
    values = (4096, 4096, 100, free_blocks, free_blocks, 0, 0, 0, 0, 255)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
    assert doctor.pool(node).state == state


def test_a_node_that_is_down_says_what_it_left_mounted(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "points", lambda: [Path("/"), node.paths.run, node.paths.apps])
    found = doctor.node_runs(node, running=False)
    assert found.state == "warn"
    assert found.detail == "the root Emperor does not run, but 2 mounts are left"


@pytest.mark.parametrize(("answers", "state"), [(True, "ok"), (False, "fail")])
def test_a_running_node_whose_api_is_silent_fails(
    node: Node, monkeypatch: pytest.MonkeyPatch, answers: bool, state: str
) -> None:
    monkeypatch.setattr(status, "api_answers", lambda _: answers)
    monkeypatch.setattr(service, "supervisor_pid", lambda _: 7)
    assert doctor.node_runs(node, running=True).state == state


def test_a_running_node_without_its_supervisor_fails(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "api_answers", lambda _: True)
    monkeypatch.setattr(service, "has_systemd", lambda: False)
    monkeypatch.setattr(service, "supervisor_pid", lambda _: None)
    found = doctor.node_runs(node, running=True)
    assert (found.state, "supervisor" in found.detail) == ("fail", True)
    assert "node down" in found.remedy


def test_missing_namespaces_are_named(tmp_path: Path) -> None:
    for name in ("mnt", "pid", "net", "ipc", "cgroup"):
        (tmp_path / name).touch()
    found = check.namespaces(tmp_path)
    assert (found.state, found.detail) == ("fail", "the kernel has no uts namespaces")


def test_the_driver_without_limits_is_a_warning() -> None:
    found = check.storage(Node(Paths(Path("/")), NodeSettings(storage="dir")))
    assert (found.state, found.detail) == ("warn", "driver dir: homes have no disk limit")


@pytest.mark.parametrize(
    ("release", "refused"), [("6.1.0-9-amd64", True), ("6.7.0", False), ("6.18.44", False)]
)
def test_without_simple_quotas_the_filter_alone_holds_the_disk_limit(
    release: str, refused: bool
) -> None:
    found = check.disk_limits(release)
    assert (found.state, "system call filter" in found.detail) == ("ok", refused)


def test_a_disk_that_is_too_small_says_how_much_is_needed(tmp_path: Path) -> None:
    found = check.disk(tmp_path / "not/there/yet", needed=1 << 62)
    assert found.state == "fail"
    assert str(tmp_path) in found.detail
    assert "are needed" in found.detail


def test_every_failing_check_has_a_remedy(node: Node, tmp_path: Path) -> None:
    failing = [
        check.kernel("4.19"),
        check.namespaces(tmp_path),
        check.reserved_uids("jo:x:30001:1::/:/bin/sh\n", ""),
        check.disk(tmp_path, needed=1 << 62),
        doctor.clock(0),
    ]
    assert {item.state for item in failing} == {"fail"}
    assert [item.name for item in failing if not item.remedy] == []
