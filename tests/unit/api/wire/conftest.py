"""Clients of the ancestor: a login each, JSON without a Content-Type."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from insula.api.actions import customers
from insula.api.actions.actor import ROOT
from insula.api.actions.users import create_user
from insula.api.models import Customer, Distro, Node, User
from insula.api.wire import login

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Browser:
    """Somebody with a login, or with none."""

    user: User | None = None
    password: str = PASSWORD
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body)
        named = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        if self.user is not None and "HTTP_AUTHORIZATION" not in named:
            named["HTTP_AUTHORIZATION"] = basic(f"{self.user.name}:{self.password}")
        answer = Client(raise_request_exception=True).generic(
            method,
            f"/api/{path}",
            data,
            content_type="application/x-www-form-urlencoded",
            **{"insula.door": "public", "HTTPS": "on", "REMOTE_ADDR": "192.0.2.1", **named},  # type: ignore[arg-type]  # META keys
        )
        assert answer.cookies == {}
        text = answer.content.decode()
        return Answer(answer.status_code, json.loads(text) if text else None, dict(answer.headers))

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def post(self, path: str, body: object, status: int = 200) -> Any:
        answer = self.call("POST", path, body)
        assert answer.status == status, answer
        return answer.body

    @property
    def customer(self) -> Customer:
        assert self.user is not None
        return self.user.customer


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.fixture(scope="session")
def a_key_pair() -> tuple[str, str]:
    return customers.key_pair()


@pytest.fixture
def make_user(
    db: None, a_key_pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> Callable[[str], Browser]:
    """A key takes a tenth of a second, and a slow hash too; test_login has the real one."""
    monkeypatch.setattr(customers, "key_pair", lambda: a_key_pair)
    monkeypatch.setattr(login, "LOGINS", login.Logins())
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

    def make(name: str) -> Browser:
        customer = customers.create_customer(ROOT, name=name)
        return Browser(create_user(ROOT, customer, name=f"{name}@x", password=PASSWORD))

    return make


@pytest.fixture
def ann(make_user: Callable[[str], Browser]) -> Browser:
    return make_user("ann")


@pytest.fixture
def bob(make_user: Callable[[str], Browser]) -> Browser:
    return make_user("bob")


@pytest.fixture
def nobody(db: None) -> Browser:
    return Browser()


@pytest.fixture
def node(ann: Browser) -> Node:
    """The node, with two distros; ann's own, 4 GiB of memory and 8 GiB of storage."""
    row = Node.objects.create(
        name="local", owner=ann.customer, address="198.51.100.7",
        memory_bytes=4 << 30, storage_bytes=8 << 30,
    )  # fmt: skip
    for name in ("default", "other"):
        Distro.objects.create(node=row, name=name)
    return row


def make_container(someone: Browser, name: str = "shop", memory: int = 64) -> int:
    body = {"server": "198.51.100.7", "name": name, "memory": memory, "storage": 64}
    return int(someone.post("containers", body, 201)["uid"])
