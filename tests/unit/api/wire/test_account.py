"""Who one is, and the news."""

import pytest

from insula.api.actions.actor import ROOT
from insula.api.actions.news import publish
from insula.api.models import AuditEntry, Node
from tests.unit.api.wire.conftest import PASSWORD, Browser, basic, make_container


def test_me_shows_what_is_mine(ann: Browser, bob: Browser, node: Node) -> None:
    uid = make_container(ann)
    assert ann.get("me") == {
        "email": "",
        "vat": None,
        "company": None,
        "uuid": str(ann.customer.uuid),
        "containers": [uid],
        "servers": ["198.51.100.7"],
    }
    assert (bob.get("me")["containers"], bob.get("me")["servers"]) == ([], [])


def test_an_account_changes_as_a_whole(ann: Browser) -> None:
    wanted = {"email": "a@x.org, b@x.org", "company": "Dogs", "vat": "IT1", "password": PASSWORD}
    changed = ann.post("me", wanted)
    assert changed == ann.get("me")
    assert (changed["email"], changed["company"], changed["vat"]) == (
        "a@x.org, b@x.org",
        "Dogs",
        "IT1",
    )
    entry = AuditEntry.objects.filter(action="change-account").get()
    assert (entry.who, entry.detail) == ("ann/ann@x", "email, company, vat, password")


@pytest.mark.parametrize(
    "bad",
    [
        {"password": None},
        {"password": ""},
        {"password": 12345678},
        {"password": "x" * 256},
        {"email": None},
        {"email": "nobody"},
        {"email": "a@x.org,"},
        {"email": "a@x.org\n"},
        {"vat": 1},
        {"company": "x" * 256},
        {"company": "a\nb"},
        {"company": "a\x00b"},
    ],
    ids=str,
)
def test_all_fields_or_none(ann: Browser, bad: dict[str, object]) -> None:
    before = ann.get("me")
    answer = ann.call("POST", "me", {"company": "new", "vat": "new", "password": "newer"} | bad)
    assert (answer.status, answer.body["error"]) == (400, "Bad request")
    assert ann.get("me") == before


def test_what_was_shown_may_be_sent_back(ann: Browser) -> None:
    before = ann.get("me")
    assert ann.post("me", before) == before
    assert ann.post("me", {}) == before


def test_news_for_everybody_and_for_customers(ann: Browser, nobody: Browser) -> None:
    for number in range(12):
        publish(ROOT, f"news {number}", is_public=number % 2 == 0)
    mine, public = ann.get("news/"), nobody.get("news")
    assert [row["content"] for row in mine] == [f"news {number}" for number in range(11, 1, -1)]
    assert {row["content"] for row in public} == {f"news {number}" for number in range(0, 12, 2)}
    assert type(mine[0]["date"]) is int
    wrong = nobody.call("GET", "news", authorization=basic("ann@x:wrong"))
    assert (wrong.status, wrong.body) == (200, public)
