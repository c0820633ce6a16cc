"""The isolation doctor deletes nobody's container, lets nobody in, and believes no odd line."""

from pathlib import Path
from typing import Any

import pytest

from insula.emperor.errors import FeedError, PreparationError
from insula.emperor.isolation import arena, doctor
from insula.emperor.isolation.attacks.contract import HELD
from insula.emperor.isolation.threats import THREATS
from insula.emperor.settings import Node, NodeSettings, Paths

TOKENS = f"/api/v1/customers/{arena.VICTIM}/tokens"
CONTAINERS = f"/api/v1/containers?customer={arena.VICTIM}&state=all"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(Paths(tmp_path), NodeSettings())


def answer(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[dict[str, Any]]]) -> list[str]:
    """An API that knows these lists alone; returns what it is asked to delete."""
    deleted: list[str] = []

    def call(_node: Node, method: str, url: str, _body: object = None) -> object:
        if method == "DELETE":
            deleted.append(url)
            return {}
        if url not in answers:
            raise FeedError("the API answered 404 not found")
        return answers[url]

    monkeypatch.setattr(arena, "_call", call)
    return deleted


def test_a_customer_with_a_container_of_its_own_keeps_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = {"name": "shop", "uid": 30007, "state": "running"}
    deleted = answer(monkeypatch, {CONTAINERS: [shop], TOKENS: []})
    with pytest.raises(PreparationError, match="has a container shop"):
        arena._refuse_real_customers(node)
    assert deleted == []


def test_who_has_a_token_of_one_side_is_named(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {CONTAINERS: [], TOKENS: [{"name": "cli", "id": 3}]})
    with pytest.raises(PreparationError) as refused:
        arena._refuse_real_customers(node)
    assert refused.value.hint == f"insula customer revoke {arena.VICTIM} 3"


def test_what_runs_have_made_is_taken_away(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"name": f"{arena.VICTIM}-0a1b2c", "uid": 30007, "state": "running"}
    token = {"name": arena.TOKEN, "id": 3}
    deleted = answer(monkeypatch, {CONTAINERS: [left], TOKENS: [token]})
    node.paths.removed.mkdir(parents=True)
    arena._refuse_real_customers(node)
    arena._tidy(node)
    assert deleted == [f"{TOKENS}/3", "/api/v1/containers/30007"]


@pytest.mark.parametrize(
    "said",
    [
        b"[" * 200_000,
        b'{"name": "NAME", "verdict": "fine", "reason": "", "seconds": 0}',
        b'{"name": "NAME", "verdict": "held", "reason": [1], "seconds": 0}',
        b'{"name": "another", "verdict": "held", "reason": "", "seconds": 0}',
        b"\xff",
    ],
)
def test_a_line_that_no_probe_would_say_is_none(said: bytes) -> None:
    assert doctor._outcome(THREATS[0], said.replace(b"NAME", THREATS[0].name.encode())) is None


def test_a_line_of_a_probe_is_its_outcome() -> None:
    line = f'{{"name": "{THREATS[0].name}", "verdict": "held", "reason": "no", "seconds": 1}}'
    outcome = doctor._outcome(THREATS[0], line.encode())
    assert outcome is not None and outcome.verdict == HELD
