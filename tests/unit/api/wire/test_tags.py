"""Tags are a customer's own words."""

import pytest

from insula.api.models import Container, Node
from tests.unit.api.wire.conftest import Browser, make_container


def test_a_tag_is_made_renamed_and_deleted(ann: Browser) -> None:
    made = ann.post("tags", {"name": "blue", "note": "two\nlines"}, 201)
    assert made == {"id": made["id"], "name": "blue", "note": "two\nlines"}
    assert ann.get("tags") == [{"id": made["id"], "name": "blue"}]
    changed = ann.post(f"tags/{made['id']}", {"name": "red"})
    assert changed == ann.get(f"tags/{made['id']}") == made | {"name": "red"}
    assert ann.call("DELETE", f"tags/{made['id']}").body == {"message": "Ok"}
    assert ann.get("tags") == []


def test_a_name_is_taken_for_its_customer_alone(ann: Browser, bob: Browser) -> None:
    first = ann.post("tags", {"name": "blue"}, 201)["id"]
    second = ann.post("tags", {"name": "red"}, 201)["id"]
    assert ann.post("tags", {"name": "blue"}, 409)["error"] == "Conflict"
    ann.post(f"tags/{second}", {"name": "blue"}, 409)
    ann.post(f"tags/{first}", {"name": "blue"})
    bob.post("tags", {"name": "blue"}, 201)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_stranger_finds_no_tag(ann: Browser, bob: Browser, method: str) -> None:
    number = ann.post("tags", {"name": "blue"}, 201)["id"]
    answer = bob.call(method, f"tags/{number}", {"name": "mine"})
    assert (answer.status, answer.body["error"]) == (404, "Not found")
    assert bob.get("tags") == []
    assert ann.get(f"tags/{number}")["name"] == "blue"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_00,
        {},
        {"name": ""},
        {"name": "  "},
        {"name": None},
        {"name": 1},
        {"name": ["a"]},
        {"name": "x" * 256},
        {"name": "a\r\nb"},
        {"name": "a\u2028b"},
        b'{"name": "\\ud800"}',
        {"name": "a", "note": None},
        {"name": "a", "note": 1},
        {"name": "a", "note": "x" * 20_001},
        {"name": "a", "note": "\x00"},
    ],
    ids=lambda body: repr(body)[:40],
)
def test_a_malformed_tag_changes_nothing(ann: Browser, body: object) -> None:
    answer = ann.call("POST", "tags", body)
    assert (answer.status, answer.body["error"]) == (400, "Bad request")
    assert ann.get("tags") == []


def test_a_deleted_tag_takes_no_container_along(ann: Browser, node: Node) -> None:
    number = ann.post("tags", {"name": "blue"}, 201)["id"]
    uid = make_container(ann)
    ann.post(f"containers/{uid}", {"tags": ["blue", "unknown"]})
    assert ann.get(f"containers/{uid}")["tags"] == ["blue"]
    ann.call("DELETE", f"tags/{number}")
    assert ann.get(f"containers/{uid}")["tags"] == []
    assert Container.objects.count() == 1
