"""Distro, time zone and locale: what the API takes, and what a change of them means."""

import pytest

from insula.api.actions import containers
from insula.api.models import Distro, Node
from insula.vassals.spec import ContainerSpec, DesiredState
from tests.unit.api.conftest import Person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def known_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    zones = frozenset({"UTC", "Europe/Rome", "Asia/Tokyo"})
    monkeypatch.setattr(containers, "zones", lambda: zones)


def _feed(node: Person) -> ContainerSpec:
    status, body = node.call("GET", "node/feed?since=-1")
    assert status == 200
    return DesiredState.from_json(body).containers[0]


def test_time_zone_and_locale_reach_the_feed_and_a_change_restarts(
    owner: Person, node: Person
) -> None:
    made = {"name": "shop", "timezone": "Europe/Rome", "locale": "it_IT.UTF-8"}
    status, body = owner.call("POST", "containers", made)
    assert (status, body["timezone"], body["locale"]) == (201, "Europe/Rome", "it_IT.UTF-8")
    before = _feed(node)
    assert (before.timezone, before.locale) == ("Europe/Rome", "it_IT.UTF-8")
    status, body = owner.call("PATCH", f"containers/{before.uid}", {"timezone": "Asia/Tokyo"})
    assert (status, body["effects"]) == (200, {"timezone": "restart"})
    after = _feed(node)
    assert (after.timezone, after.generation) == ("Asia/Tokyo", before.generation + 1)


def test_without_a_word_it_is_utc_and_no_language(owner: Person, node: Person) -> None:
    assert owner.call("POST", "containers", {"name": "shop"})[0] == 201
    spec = _feed(node)
    assert (spec.timezone, spec.locale) == ("UTC", "C.UTF-8")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timezone", "Europe/Rom"),
        ("timezone", "../../etc/passwd"),
        ("timezone", "/etc/localtime"),
        ("timezone", "Europe/Rome\nhook-asap = exec:id"),
        ("timezone", ""),
        ("locale", "it_IT.UTF-8 "),
        ("locale", "../C"),
        ("locale", "%(x)"),
        ("locale", "it_IT.UTF-8\nenv = LD_PRELOAD=x"),
    ],
)
def test_what_is_no_zone_or_locale_is_refused(owner: Person, field: str, value: str) -> None:
    status, body = owner.call("POST", "containers", {"name": "shop", field: value})
    assert status in (400, 422) and field in body["detail"] and body["hint"]


def test_a_near_miss_names_what_was_meant(owner: Person) -> None:
    _, body = owner.call("POST", "containers", {"name": "shop", "timezone": "Europe/Rom"})
    assert "perhaps Europe/Rome" in body["hint"]


def test_a_distro_that_no_node_reported_is_refused(owner: Person, node: Person) -> None:
    assert owner.call("POST", "containers", {"name": "early", "distro": "any"})[0] == 201
    reporting = Node.objects.create(name="one")
    Distro.objects.create(node=reporting, name="default")
    status, body = owner.call("POST", "containers", {"name": "shop", "distro": "nix"})
    assert status in (400, 422) and "there is no distro nix" in body["detail"]
    assert "there are default" in body["hint"]
    assert owner.call("POST", "containers", {"name": "shop", "distro": "default"})[0] == 201
