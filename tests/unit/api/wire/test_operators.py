"""What operators set up for the wire format: users, news, nodes; and their own settings."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from insula.api.models import Node
from insula.api.settings import Choices, read_choices
from tests.unit.api.conftest import Person

PASSWORD = "correct horse battery"


def test_operators_make_users(operator: Person, owner: Person) -> None:
    body = {"name": "jo@x", "password": PASSWORD}
    status, made = operator.call("POST", "customers/owner/users", body)
    assert (status, made["name"], made["is_active"]) == (201, "jo@x", True)
    assert "password" not in made
    assert operator.call("POST", "customers/owner/users", body)[0] == 409
    assert owner.call("GET", "customers/owner/users")[1] == [made]
    assert operator.call("PATCH", "users/jo@x", {"is_active": False})[1]["is_active"] is False
    assert operator.call("PATCH", "users/nobody", {"is_active": False})[0] == 404


@pytest.mark.parametrize(
    "bad",
    [{"password": "short"}, {"name": "a:b"}, {"name": ""}, {"name": "a\n"}, {"name": "x" * 65}],
    ids=str,
)
def test_a_malformed_user_is_refused(operator: Person, owner: Person, bad: object) -> None:
    assert isinstance(bad, dict)
    body = {"name": "jo", "password": PASSWORD} | bad
    assert operator.call("POST", "customers/owner/users", body)[0] == 422
    assert operator.call("GET", "customers/owner/users")[1] == []


def test_customers_make_neither_users_nor_news_nor_nodes(owner: Person, stranger: Person) -> None:
    user = {"name": "jo", "password": PASSWORD}
    assert owner.call("POST", "customers/owner/users", user)[0] == 403
    assert owner.call("PATCH", "users/jo", {"is_active": True})[0] == 403
    assert stranger.call("GET", "customers/owner/users")[0] == 404
    assert owner.call("POST", "news", {"content": "x"})[0] == 403
    assert owner.call("DELETE", "news/1")[0] == 403
    assert owner.call("GET", "nodes")[0] == 403
    assert owner.call("PUT", "nodes/local", {})[0] == 403


def test_news_are_published_and_withdrawn(operator: Person, owner: Person) -> None:
    made = operator.call("POST", "news", {"content": "hello", "is_public": True})[1]
    assert owner.call("GET", "news")[1] == [made]
    assert operator.call("POST", "news", {"content": " "})[0] == 422
    assert operator.call("DELETE", f"news/{made['id']}")[0] == 204
    assert operator.call("DELETE", f"news/{made['id']}")[0] == 404


def test_a_node_is_described(operator: Person, owner: Person) -> None:
    Node.objects.create(name="local")
    body = {"address": "198.51.100.7", "owner": "owner", "memory_bytes": 1, "storage_bytes": 1}
    status, described = operator.call("PUT", "nodes/local", body)
    assert (status, {key: described[key] for key in body}) == (200, body)
    assert operator.call("GET", "nodes")[1] == [described]
    for bad in ({"address": None}, {"memory_bytes": 0}, {"address": "x"}, {"owner": "nobody"}):
        assert operator.call("PUT", "nodes/local", body | bad)[0] in (404, 422)
    assert operator.call("GET", "nodes")[1] == [described]
    assert operator.call("PUT", "nodes/other", {})[0] == 404


def test_without_a_file_the_choices_are_the_defaults(tmp_path: Path) -> None:
    assert read_choices(tmp_path / "operator.toml") == Choices("", 53, ("*",))


def test_an_operator_chooses(tmp_path: Path) -> None:
    path = tmp_path / "operator.toml"
    path.write_text('resolver = "10.0.0.5"\nresolver_port = 5300\nallowed_origins = ["https://a"]')
    assert read_choices(path) == Choices("10.0.0.5", 5300, ("https://a",))


@pytest.mark.parametrize(
    "text",
    ["x", "typo = 1", 'resolver = "ns.example.org"', "resolver = 1", "resolver_port = 0",
     'resolver_port = "53"', 'allowed_origins = "*"', "allowed_origins = [1]"],
)  # fmt: skip
def test_a_wrong_choice_stops_the_api_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "operator.toml"
    path.write_text(text)
    with pytest.raises(ImproperlyConfigured, match="operator.toml"):
        read_choices(path)
