"""Who sees and revokes tokens, and that a revoked one stays revoked."""

from pathlib import Path

import pytest
from django.db import transaction

from insula.api import revocations
from insula.api.actions.actor import ROOT
from insula.api.actions.adopting import adopt
from insula.api.models import AuditEntry, Token
from tests.unit.api.conftest import Person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def copies(tmp_path: Path, settings: object) -> Path:
    settings.BACKUPS = tmp_path  # type: ignore[attr-defined]  # Django's settings know no types
    return tmp_path


def test_a_customer_sees_its_own_tokens_without_their_texts(owner: Person) -> None:
    status, found = owner.call("GET", "customers/owner/tokens")
    assert (status, [item["name"] for item in found]) == (200, ["test"])
    assert set(found[0]) == {"id", "name", "created", "expires", "last_used"}


@pytest.mark.parametrize("who", ["owner", "operator"])
def test_a_revoked_token_is_refused_at_once(
    who: str, owner: Person, operator: Person, copies: Path
) -> None:
    number = Token.objects.get().id
    person = {"owner": owner, "operator": operator}[who]
    status, gone = person.call("DELETE", f"customers/owner/tokens/{number}")
    assert (status, gone["id"]) == (200, number)
    assert owner.call("GET", "me")[0] == 401
    assert operator.call("DELETE", f"customers/owner/tokens/{number}")[0] == 404
    assert AuditEntry.objects.filter(action="revoke-token", subject="owner").count() == 1


def test_a_stranger_neither_sees_nor_revokes_a_token(owner: Person, stranger: Person) -> None:
    number = Token.objects.get(customer=owner.customer).id
    assert stranger.call("GET", "customers/owner/tokens")[0] == 404
    assert stranger.call("DELETE", f"customers/owner/tokens/{number}")[0] == 404
    # nor by its number below its own name
    assert stranger.call("DELETE", f"customers/stranger/tokens/{number}")[0] == 404
    assert owner.call("GET", "me")[0] == 200


@pytest.mark.parametrize("number", ["x", "0", "-1", "99999999999999999999"])
def test_a_number_that_no_token_has_is_refused_in_words(owner: Person, number: str) -> None:
    status, found = owner.call("DELETE", f"customers/owner/tokens/{number}")
    assert status in (404, 422) and found["detail"]


def test_an_older_copy_does_not_bring_a_revoked_token_back(owner: Person, copies: Path) -> None:
    row = Token.objects.get()
    owner.call("DELETE", f"customers/owner/tokens/{row.id}")
    # as the copy has it
    row.save(force_insert=True)
    assert owner.call("GET", "me")[0] == 200
    assert adopt(ROOT, None, revoked=revocations.noted()).revoked_tokens == 1
    assert owner.call("GET", "me")[0] == 401


def test_other_tokens_stay(owner: Person, stranger: Person, copies: Path) -> None:
    revocations.note(Token.objects.get(customer=owner.customer).sha256)
    assert adopt(ROOT, None, revoked=revocations.noted()).revoked_tokens == 1
    assert stranger.call("GET", "me")[0] == 200


def test_a_token_that_cannot_be_noted_is_not_said_to_be_revoked(
    owner: Person, operator: Person, copies: Path
) -> None:
    (copies / revocations.NAME).mkdir()
    number = Token.objects.get().id
    status, found = operator.call("DELETE", f"customers/owner/tokens/{number}")
    assert (status, found["code"]) == (507, "no-space") and "still works" in found["detail"]
    assert owner.call("GET", "me")[0] == 200


def test_a_line_that_was_cut_by_a_full_disk_hides_no_other(copies: Path) -> None:
    first, second = "a" * 64, "b" * 64
    revocations.note(first)
    with (copies / revocations.NAME).open("a") as file:
        file.write("c" * 30)
    revocations.note(second)
    assert revocations.noted() == {first, second}
    assert (copies / revocations.NAME).stat().st_mode & 0o777 == 0o600


def test_the_note_is_on_the_disk_before_the_token_goes(
    owner: Person, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(sha256: str) -> None:
        seen.append(Token.objects.filter(sha256=sha256).exists())
        # A write lock that waits for a slow disk would hold up every change.
        assert not transaction.get_connection().in_atomic_block

    monkeypatch.setattr(revocations, "note", note)
    owner.call("DELETE", f"customers/owner/tokens/{Token.objects.get().id}")
    assert seen == [True] and not Token.objects.exists()
