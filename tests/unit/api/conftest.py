"""The cast: an operator, an owner and a stranger, each with the door they come through."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from insula.api.actions.actor import ROOT
from insula.api.actions.customers import create_customer, create_token
from insula.api.models import Customer


@dataclass(frozen=True, slots=True)
class Person:
    """Speaks HTTP through one door."""

    environ: dict[str, str]
    customer: Customer | None = None

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        text = body if isinstance(body, str) else json.dumps(body)
        answer = Client(raise_request_exception=True).generic(
            method,
            f"/api/v1/{path}",
            "" if body is None else text,
            content_type="application/json",
            **self.environ,  # type: ignore[arg-type]  # extra META keys
        )
        return answer.status_code, json.loads(answer.content) if answer.content else None


@pytest.fixture
def operator(db: None) -> Person:
    return Person({"insula.door": "operator"})


@pytest.fixture
def node(db: None) -> Person:
    return Person({"insula.door": "node"})


@pytest.fixture
def nobody(db: None) -> Person:
    return Person({"insula.door": "public", "HTTPS": "on"})


@pytest.fixture
def make_customer(db: None) -> Callable[[str], Person]:
    def make(name: str) -> Person:
        customer = create_customer(ROOT, name=name)
        token = create_token(ROOT, customer, name="test").token
        environ = {
            "insula.door": "public",
            "HTTPS": "on",
            "HTTP_AUTHORIZATION": f"Bearer {token}",
        }
        return Person(environ, customer)

    return make


@pytest.fixture
def owner(make_customer: Callable[[str], Person]) -> Person:
    return make_customer("owner")


@pytest.fixture
def stranger(make_customer: Callable[[str], Person]) -> Person:
    return make_customer("stranger")
