"""Who may attach which domain."""

import pytest

from insula.api.actions import domains
from insula.api.actions.customers import signing_keys
from insula.api.actions.encryption import DecryptionError, decrypt, encrypt
from insula.api.models import Customer, Token
from tests.unit.api.conftest import Person


def _attach(person: Person, name: str) -> int:
    return person.call("POST", "domains", {"name": name})[0]


def test_a_domain_moves_only_after_it_is_detached(owner: Person, stranger: Person) -> None:
    assert _attach(owner, "Shop.example.org") == 201
    assert _attach(stranger, "shop.example.org") == 409
    assert stranger.call("DELETE", "domains/shop.example.org")[0] == 404
    assert owner.call("DELETE", "domains/shop.example.org")[0] == 200
    assert _attach(stranger, "shop.example.org") == 201


def test_nobody_attaches_around_a_stranger(owner: Person, stranger: Person) -> None:
    assert _attach(owner, ".example.org") == 201
    assert _attach(owner, "a.example.org") == 201
    assert _attach(stranger, "b.example.org") == 409
    assert _attach(stranger, ".org.example.org") == 409


@pytest.mark.parametrize(
    "name", ["insula.test", ".insula.test", "x.insula.test", "a.b.insula.test"]
)
def test_the_platform_keeps_its_base_domain(owner: Person, name: str) -> None:
    assert _attach(owner, name) == 409


@pytest.mark.parametrize("name", ["", "a", "1.2.3.4", "a..b", "a b.org", "a.org\n[uwsgi]"])
def test_a_malformed_domain_is_refused(owner: Person, name: str) -> None:
    assert _attach(owner, name) == 422


def test_detached_domains_count_so_that_the_feed_ends_somewhere(
    owner: Person, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domains, "MAXIMUM_NAMES", 2)
    for name in ("a.example.org", "b.example.org"):
        assert _attach(owner, name) == 201
        assert owner.call("DELETE", f"domains/{name}")[0] == 200
    assert _attach(owner, "c.example.org") == 409
    assert _attach(owner, "a.example.org") == 201
    body = {"name": "c.example.org", "customer": "owner"}
    assert operator.call("POST", "domains", body)[0] == 201


def test_a_private_key_is_not_readable_in_the_database(owner: Person, operator: Person) -> None:
    operator.call("POST", "containers", {"name": "shop", "customer": "owner"})
    assert "PRIVATE" not in Customer.objects.get().private_key_encrypted
    assert signing_keys()[str(Customer.objects.get().id)].startswith("-----BEGIN PRIVATE KEY")


def test_an_encrypted_key_opens_for_its_owner_alone() -> None:
    ring = ["22" * 32, "33" * 32]
    old = encrypt("secret", about="a", keys=ring[:1])
    assert decrypt(old, about="a", keys=ring) == "secret"
    with pytest.raises(DecryptionError):
        decrypt(old, about="b", keys=ring)


def test_a_token_is_not_readable_in_the_database(owner: Person) -> None:
    token = owner.environ["HTTP_AUTHORIZATION"].split()[1]
    assert token.startswith("insula_pat_")
    assert Token.objects.get().sha256 not in token
