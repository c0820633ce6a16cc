"""What each door leads to, and what it refuses."""

import pytest

from tests.unit.api.conftest import Person

pytestmark = pytest.mark.django_db


def test_a_request_through_no_door_is_refused() -> None:
    assert Person({}).call("GET", "ping")[0] == 403


def test_the_public_door_refuses_plain_http() -> None:
    status, problem = Person({"insula.door": "public"}).call("GET", "ping")
    assert (status, problem["code"]) == (403, "https-only")


@pytest.mark.parametrize("path", ["feed", "report", "samples", "signing-keys"])
def test_no_node_endpoint_is_behind_the_public_door(owner: Person, path: str) -> None:
    assert owner.call("GET", f"node/{path}")[0] == 404


def test_the_node_door_gives_no_signing_keys(node: Person) -> None:
    assert node.call("GET", "node/signing-keys")[0] == 404


def test_the_node_door_leads_to_no_customer_endpoint(node: Person) -> None:
    assert node.call("GET", "containers")[0] == 404


def test_a_body_over_64_kib_is_refused(owner: Person) -> None:
    assert owner.call("POST", "containers", "x" * 65537)[0] == 413


def test_a_request_without_a_token_is_refused(nobody: Person) -> None:
    for path in ("me", "containers", "customers", "domains", "distros"):
        assert nobody.call("GET", path)[0] == 401


def test_everybody_may_ping(nobody: Person) -> None:
    assert nobody.call("GET", "ping")[0] == 200
