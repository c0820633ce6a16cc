"""The containers' endpoints, asked by the whole cast."""

from typing import Any

import pytest
from django.conf import settings

from insula.api.actions import containers
from insula.vassals import grammar
from insula.vassals.spec import DesiredState
from tests.unit.api.conftest import Person

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me"


def _make(person: Person, name: str = "shop") -> int:
    status, body = person.call("POST", "containers", {"name": name})
    assert status == 201, body
    return int(body["uid"])


def _feed(node: Person) -> DesiredState:
    status, body = node.call("GET", "node/feed?since=-1")
    assert status == 200
    return DesiredState.from_json(body)


def test_an_owner_gets_a_container_with_its_domain(owner: Person, node: Person) -> None:
    uid = _make(owner)
    spec = _feed(node).containers[0]
    assert (spec.uid, spec.state, spec.generation) == (uid, "running", 1)
    grammar.check(spec.vassal, uid=uid, container_ini=settings.CONTAINER_INI)
    assert [(d.name, d.state) for d in _feed(node).domains] == [("shop.insula.test", "attached")]


def test_no_customer_uses_up_the_platforms_uids(
    owner: Person, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "MAXIMUM_UIDS", 2)
    for name in ("one", "two"):
        assert owner.call("DELETE", f"containers/{_make(owner, name)}")[0] == 200
    assert owner.call("POST", "containers", {"name": "three"})[0] == 409
    assert operator.call("POST", "containers", {"name": "three", "customer": "owner"})[0] == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/reboot"), ("GET", "/metrics")],
)
def test_a_stranger_finds_no_container(
    owner: Person, stranger: Person, method: str, path: str
) -> None:
    uid = _make(owner)
    body: Any = {} if method == "PATCH" else None
    assert stranger.call(method, f"containers/{uid}{path}", body)[0] == 404
    assert stranger.call("GET", "containers")[1] == []


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        {},
        {"name": "UPPER"},
        {"name": "a", "typo": 1},
        {"name": "a", "memory_bytes": 1},
        {"name": "a", "memory_bytes": "64M"},
        {"name": "a", "distro": "../etc"},
        {"name": "a", "ssh_keys": ['command="sh" ssh-ed25519 AAAA']},
    ],
    ids=str,
)
def test_a_malformed_container_changes_nothing(owner: Person, body: object) -> None:
    status, problem = owner.call("POST", "containers", body)
    assert (status, problem["code"]) == (422, "invalid")
    assert owner.call("GET", "containers")[1] == []


def test_a_uid_is_never_used_again(owner: Person) -> None:
    first = _make(owner)
    assert owner.call("DELETE", f"containers/{first}")[0] == 200
    assert _make(owner) > first


def test_a_destroyed_container_stays_in_the_feed(owner: Person, node: Person) -> None:
    owner.call("DELETE", f"containers/{_make(owner)}")
    state = _feed(node)
    assert state.containers[0].state == "destroyed"
    assert state.domains[0].state == "detached"


def test_a_taken_name_is_a_conflict(owner: Person, stranger: Person) -> None:
    _make(owner)
    assert stranger.call("POST", "containers", {"name": "shop"})[0] == 409
    assert stranger.call("POST", "containers", {"name": "api"})[0] == 409


def test_limits_change_live_and_a_distro_restarts(owner: Person) -> None:
    uid = _make(owner)
    body: dict[str, object] = owner.call(
        "PATCH", f"containers/{uid}", {"cpu_percent": 70, "ssh_keys": [KEY]}
    )[1]
    assert (body["effects"], body["generation"]) == ({"cpu_percent": "live", "ssh_keys": "live"}, 1)
    body = owner.call("PATCH", f"containers/{uid}", {"distro": "other"})[1]
    assert (body["effects"], body["generation"]) == ({"distro": "restart"}, 2)
    revision = body["revision"]
    body = owner.call("PATCH", f"containers/{uid}", {"distro": "other"})[1]
    assert (body["effects"], body["revision"]) == ({"distro": "nothing"}, revision)


def test_a_reboot_is_the_next_generation(owner: Person, node: Person) -> None:
    uid = _make(owner)
    before = _feed(node).revision
    assert owner.call("POST", f"containers/{uid}/reboot")[1]["generation"] == 2
    assert _feed(node).revision == before + 1


def test_only_operators_make_customers(owner: Person, operator: Person) -> None:
    assert owner.call("POST", "customers", {"name": "new"})[0] == 403
    assert owner.call("GET", "customers")[0] == 403
    assert operator.call("POST", "customers", {"name": "new"})[0] == 201


def test_a_report_shows_what_is_applied(owner: Person, node: Person) -> None:
    uid = _make(owner)
    entry = {
        "uid": uid, "applied_revision": 9, "generation": 1, "running_since": 2.0,
        "disk_used_bytes": 7, "error": "",
    }  # fmt: skip
    report = {"revision": 9, "distros": ["default"], "containers": [entry]}
    assert node.call("POST", "node/report", report)[0] == 204
    assert owner.call("GET", f"containers/{uid}?wait=1&applied=9")[1]["applied"]["revision"] == 9
    assert owner.call("GET", "distros")[1] == [{"name": "default"}]
    assert node.call("POST", "node/report", "{}")[0] == 422
