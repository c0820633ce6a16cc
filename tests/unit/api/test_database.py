"""The database's file: what counts as lost, what its errors mean, which copies are kept."""

import sqlite3
from pathlib import Path

import pytest
from django.db.utils import OperationalError

from insula.api import backups, database, faults
from insula.api.errors import ApiError, Code


def made(path: Path, installation: str = "one") -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE api_revision (id INTEGER PRIMARY KEY, number INTEGER)")
        connection.execute("INSERT INTO api_revision VALUES (1, 7)")
        connection.execute(f"PRAGMA application_id = {database.mark(installation)}")
    connection.close()
    return path


def test_a_first_start_finds_nothing_and_may_make_it(tmp_path: Path) -> None:
    file = tmp_path / "api.sqlite3"
    assert not database.check(file, marker=tmp_path / "marker", installation="one")
    file.write_bytes(b"")
    assert not database.check(file, marker=tmp_path / "marker", installation="one")


@pytest.mark.parametrize("content", [None, b"", b"x" * 5000], ids=["none", "empty", "garbage"])
def test_once_there_was_one_a_missing_database_is_a_loss(
    tmp_path: Path, content: bytes | None
) -> None:
    file, marker = tmp_path / "api.sqlite3", tmp_path / "marker"
    marker.write_text("one")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ApiError, match="restored") as found:
        database.check(file, marker=marker, installation="one")
    assert (found.value.code, found.value.status) == (Code.DATABASE, 503)
    assert "insula node restore" in str(found.value.hint)
    assert file.exists() == (content is not None)


def test_a_damaged_page_is_found_before_anybody_asks_for_it(tmp_path: Path) -> None:
    file = made(tmp_path / "api.sqlite3")
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xff" * 4096)
    with pytest.raises(ApiError, match="damaged"):
        database.check(file, marker=tmp_path / "marker", installation="one")


def test_a_database_of_another_installation_is_refused(tmp_path: Path) -> None:
    file = made(tmp_path / "api.sqlite3", "another")
    with pytest.raises(ApiError, match="another installation"):
        database.check(file, marker=tmp_path / "marker", installation="one")


def test_a_database_from_before_the_mark_gets_it(tmp_path: Path) -> None:
    file = made(tmp_path / "api.sqlite3")
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA application_id = 0")
    connection.close()
    assert database.check(file, marker=tmp_path / "marker", installation="one")
    with pytest.raises(ApiError):
        database.check(file, marker=tmp_path / "marker", installation="two")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (sqlite3.SQLITE_FULL, Code.NO_SPACE),
        (sqlite3.SQLITE_BUSY, Code.BUSY),
        (sqlite3.SQLITE_CORRUPT, Code.DATABASE),
        (sqlite3.SQLITE_READONLY, Code.DATABASE),
        (sqlite3.SQLITE_IOERR_WRITE, Code.DATABASE),
    ],
)
def test_an_error_of_the_storage_has_a_code_of_its_own(number: int, code: Code) -> None:
    cause = sqlite3.OperationalError("why")
    cause.sqlite_errorcode = number
    error = OperationalError("why")
    error.__cause__ = cause
    found = faults.meaning(error)
    assert found is not None
    assert found.code is code


def test_an_error_of_ours_is_no_fault_of_the_storage() -> None:
    assert faults.meaning(sqlite3.OperationalError("no such table")) is None
    assert faults.meaning(ValueError("x")) is None


def test_hours_days_and_migrations_are_kept_apart() -> None:
    hours = [
        f"202611{day:02}T{hour:02}0000Z-{day * 24 + hour}-change.sqlite3"
        for day in range(1, 11)
        for hour in range(24)
    ]
    migrations = [f"20261101T0000{i:02}Z-1-migration.sqlite3" for i in range(5)]
    kept = sorted(set(hours + migrations) - set(backups.superseded(hours + migrations)))
    days = [name for name in kept if "-change" in name and not name.startswith("20261110")]
    assert [name[:11] for name in days] == [f"202611{day:02}T23" for day in range(4, 10)]
    assert len([name for name in kept if name.startswith("20261110")]) == 24
    assert len([name for name in kept if "migration" in name]) == 3


def test_a_copy_is_whole_checked_and_without_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: object
) -> None:
    source = made(tmp_path / "api.sqlite3")
    with sqlite3.connect(source) as connection:
        connection.execute("CREATE TABLE api_storedsample (id INTEGER)")
        connection.execute("INSERT INTO api_storedsample VALUES (1)")
    connection.close()
    place = tmp_path / "backups"
    place.mkdir()
    monkeypatch.setattr(database, "path", lambda: source)
    monkeypatch.setattr(backups, "is_wanted", lambda: True)
    monkeypatch.setattr(backups, "place", lambda: place)
    target = backups.make("change")
    assert target is not None
    assert [item.name for item in place.iterdir()] == [target.name]
    assert backups.revision_of(target.name) == 7
    with sqlite3.connect(target) as connection:
        assert connection.execute("SELECT count(*) FROM api_storedsample").fetchone() == (0,)
        assert connection.execute("SELECT number FROM api_revision").fetchone() == (7,)
    connection.close()
    source.write_bytes(b"broken")
    with pytest.raises(sqlite3.Error):
        backups.make("change")
    assert [item.name for item in place.iterdir()] == [target.name]


def test_a_copy_is_due_when_anything_was_done_since_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: object
) -> None:
    """A token makes no new revision, and must be in a copy all the same."""
    settings.BACKUPS = tmp_path / "copies"  # type: ignore[attr-defined]  # Django's are untyped
    (tmp_path / "copies").mkdir()
    file = made(tmp_path / "api.sqlite3")
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("CREATE TABLE api_auditentry (id INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE api_storedsample (id INTEGER PRIMARY KEY)")
    monkeypatch.setattr(database, "path", lambda: file)

    # One name a second.
    seconds = iter(range(60))
    monkeypatch.setattr("time.gmtime", lambda: (2026, 1, 1, 0, 0, next(seconds), 0, 1, 0))

    def is_due_now() -> bool:
        due = backups.is_due(0.0)
        if due:
            assert backups.make("change") is not None
        return due

    assert is_due_now() and not is_due_now()
    connection.execute("INSERT INTO api_auditentry VALUES (1)")
    assert is_due_now() and not is_due_now()
    connection.execute("UPDATE api_revision SET number = 8")
    assert is_due_now() and not is_due_now()
    connection.execute("INSERT INTO api_storedsample VALUES (1)")
    assert not is_due_now()
    connection.execute("INSERT INTO api_auditentry VALUES (2)")
    assert not backups.is_due(60.0)
    connection.close()
    newest = tmp_path / "copies" / backups.listed()[-1]
    newest.write_bytes(b"damaged")
    assert is_due_now()
    assert [backups.revision_of(name) for name in backups.listed()] == [7, 7, 8, 8]
