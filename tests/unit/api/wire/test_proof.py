"""The questions to the DNS, against a name server that lives in this test."""

import time
from collections.abc import Callable
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.resolver
import dns.rrset
import pytest

from insula.api import proof
from insula.api.settings import Choices

Question = tuple[str, str, int]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Answers every question with two records in pieces, and notes who was asked."""
    seen: list[Question] = []

    def answer(
        question: dns.message.Message, where: str, *, timeout: float, port: int
    ) -> tuple[dns.message.Message, bool]:
        name = question.question[0].name
        seen.append((where, str(name), port))
        if where == "203.0.113.1":
            raise dns.exception.Timeout
        said = dns.message.make_response(question)
        said.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", '"uwsgi:" "one"', '"two"'))
        said.answer.append(dns.rrset.from_text("other.org.", 60, "IN", "TXT", '"foreign"'))
        return said, False

    monkeypatch.setattr(dns.query, "udp_with_fallback", answer)
    return seen


def test_the_chosen_resolver_is_asked_for_everything(asked: list[Question], settings: Any) -> None:
    settings.CHOICES = Choices(resolver="127.0.0.1", resolver_port=5300)
    assert proof.txt_records("a.example.org", 5) == {b"uwsgi:one", b"two"}
    assert asked == [("127.0.0.1", "a.example.org.", 5300)]


def _resolver(table: dict[tuple[str, str], list[Any]]) -> Callable[..., list[Any]]:
    def resolve(self: object, name: object, kind: str, lifetime: float) -> list[Any]:
        found = table.get((str(name), kind))
        if found is None:
            raise dns.resolver.NoAnswer
        return found

    return resolve


class _Server:
    def __init__(self, target: str) -> None:
        self.target = target


def test_the_zones_own_servers_are_asked_but_none_inside(
    asked: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    table: dict[tuple[str, str], list[Any]] = {
        ("example.org.", "NS"): [_Server("in."), _Server("dead."), _Server("ns.")],
        ("in.", "A"): ["10.0.0.1", "127.0.0.1", "169.254.169.254"],
        ("ns.", "A"): ["9.9.9.9"],
        ("dead.", "A"): ["203.0.113.1"],
    }
    monkeypatch.setattr(dns.resolver, "Resolver", type("R", (), {"resolve": _resolver(table)}))
    monkeypatch.setattr(dns.resolver, "zone_for_name", lambda *_, **__: "example.org.")
    # An address for documentation stands for a dead one: here it counts as public.
    monkeypatch.setattr(proof, "is_public", lambda address: address in ("9.9.9.9", "203.0.113.1"))
    assert proof.txt_records("a.example.org", 5) == {b"uwsgi:one", b"two"}
    assert [where for where, _, _ in asked] == ["203.0.113.1", "9.9.9.9"]


def test_a_dns_that_does_not_answer_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise dns.resolver.NoNameservers

    monkeypatch.setattr(dns.resolver, "zone_for_name", fail)
    monkeypatch.setattr(dns.resolver, "Resolver", type("R", (), {}))
    assert proof.txt_records("a.example.org", 5) == set()


def test_no_question_takes_longer_than_is_left() -> None:
    assert proof._left(time.monotonic() + 60) == proof.QUESTION_SECONDS
    with pytest.raises(TimeoutError):
        proof._left(time.monotonic() - 1)
