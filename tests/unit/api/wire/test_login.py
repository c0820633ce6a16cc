"""Who is let in, how often Argon2 works, and that guessing locks nobody out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.hashers import check_password

from insula.api.actions.actor import ROOT, Actor
from insula.api.actions.users import change_user, create_user
from insula.api.errors import ApiError
from insula.api.models import User
from insula.api.wire import login
from insula.api.wire.throttle import BURST, REFILL_SECONDS, Throttle, network_of
from tests.unit.api.wire.conftest import PASSWORD, Browser, basic


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every password that was compared with a stored one."""
    seen: list[str] = []

    def check(password: str, stored: str) -> bool:
        seen.append(password)
        return check_password(password, stored)

    monkeypatch.setattr(login, "check_password", check)
    return seen


@pytest.mark.parametrize(
    "header",
    [
        basic("ann@x:wrong"),
        basic(f"ann:{PASSWORD}"),
        basic(f"stranger:{PASSWORD}"),
        basic("ann@x"),
        "Basic !!!",
        "Basic /w==",
        "Basic",
        f"Bearer {PASSWORD}",
        "",
    ],
)
def test_a_bad_login_is_401_in_json(ann: Browser, nobody: Browser, header: str) -> None:
    answer = nobody.call("GET", "me", authorization=header)
    assert (answer.status, answer.body["error"]) == (401, "Unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="uwsgi.it api"'
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_no_login_is_401(nobody: Browser) -> None:
    assert nobody.call("GET", "me").status == 401


def test_the_scheme_may_be_written_in_any_case(ann: Browser, nobody: Browser) -> None:
    header = basic(f"ann@x:{PASSWORD}").replace("Basic", "bASIC")
    assert nobody.call("GET", "me", authorization=header).status == 200


def _hexadecimal(name: str, password: str) -> dict[str, str]:
    return {
        "x_uwsgi_it_username": name.encode().hex(),
        "x_uwsgi_it_password": password.encode().hex(),
    }


def test_hexadecimal_headers_log_in(ann: Browser, nobody: Browser) -> None:
    assert nobody.call("GET", "me", **_hexadecimal("ann@x", PASSWORD)).status == 200
    assert nobody.call("GET", "me", **_hexadecimal("ann@x", "wrong")).status == 401
    assert nobody.call("GET", "me", x_uwsgi_it_username="zz", x_uwsgi_it_password="0").status == 401
    assert nobody.call("GET", "me", x_uwsgi_it_username=b"ann@x".hex()).status == 401


def test_authorization_counts_alone_when_it_is_there(ann: Browser, nobody: Browser) -> None:
    headers = _hexadecimal("ann@x", PASSWORD)
    assert nobody.call("GET", "me", authorization=basic("ann@x:wrong"), **headers).status == 401


def test_a_password_may_hold_a_colon(ann: Browser) -> None:
    ann.post("me", {"password": "a:b:c"})
    assert ann.user is not None
    assert Browser(ann.user, "a:b:c").call("GET", "me").status == 200


def test_a_new_password_counts_at_once(ann: Browser) -> None:
    assert ann.user is not None
    ann.get("me")
    ann.post("me", {"password": "quite another"})
    assert ann.call("GET", "me").status == 401
    assert Browser(ann.user, "quite another").call("GET", "me").status == 200


def test_a_disabled_user_is_401_at_once(ann: Browser) -> None:
    ann.get("me")
    change_user(ROOT, "ann@x", is_active=False)
    assert ann.call("GET", "me").status == 401
    change_user(ROOT, "ann@x", is_active=True)
    assert ann.call("GET", "me").status == 200


def test_a_password_is_verified_once_and_then_known(
    ann: Browser, hashes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(login, "LOGINS", login.Logins(clock))
    for _ in range(5):
        ann.get("me")
    assert hashes == [PASSWORD]
    clock.now += login.FRESH_SECONDS + 1
    ann.get("me")
    assert len(hashes) == 2


def test_who_guesses_is_slowed_down_and_the_customer_is_not(
    ann: Browser, nobody: Browser, hashes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(login, "LOGINS", login.Logins(clock))
    ann.get("me")
    # From ann's own address, as a neighbour behind the same router would.
    statuses = [
        nobody.call("GET", "me", authorization=basic(f"ann@x:{number}")).status
        for number in range(BURST + 5)
    ]
    assert statuses == [401] * BURST + [429] * 5
    clock.now += login.FRESH_SECONDS * 0.999
    for number in range(2 * BURST):
        nobody.call("GET", "me", authorization=basic(f"ann@x:{number}"))
    assert ann.call("GET", "me").status == 200
    clock.now += 1
    for number in range(BURST):
        nobody.call("GET", "me", authorization=basic(f"ann@x:{number}"))
    assert ann.call("GET", "me").status == 200
    assert hashes.count(PASSWORD) == 2


def test_a_throttled_answer_says_when_to_come_back(nobody: Browser, ann: Browser) -> None:
    for number in range(BURST):
        nobody.call("GET", "me", authorization=basic(f"ann@x:{number}"))
    answer = nobody.call("GET", "me", authorization=basic("ann@x:last"))
    assert (answer.status, answer.body["error"]) == (429, "Too many requests")
    assert int(answer.headers["Retry-After"]) >= REFILL_SECONDS


def test_right_passwords_use_up_nothing() -> None:
    throttle = Throttle(Clock())
    for _ in range(3 * BURST):
        assert throttle.take("192.0.2.1")
        throttle.give_back("192.0.2.1")


def test_a_subscriber_of_ipv6_has_one_bucket() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1")
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")


def test_a_client_without_credentials_costs_nothing(ann: Browser, hashes: list[str]) -> None:
    for _ in range(2 * BURST):
        assert Browser().call("GET", "news", authorization=basic("None:None")).status == 200
    assert hashes == []
    assert ann.call("GET", "me").status == 200


@pytest.mark.django_db
def test_the_real_hash_is_argon2(make_user: Callable[[str], Browser], settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["insula.api.hashers.Argon2"]
    cat = make_user("cat")
    stored = User.objects.get(name="cat@x").password
    assert stored.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert cat.call("GET", "me").status == 200
    assert Browser(cat.user, "wrong password").call("GET", "me").status == 401


def test_only_operators_make_users(ann: Browser) -> None:
    with pytest.raises(ApiError):
        create_user(Actor("ann", ann.customer), ann.customer, name="x", password=PASSWORD)
