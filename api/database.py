"""The database's file: never an empty one in place of a lost one, nor a damaged one served."""

import contextlib
import os
import sqlite3
import zlib
from pathlib import Path

from django.conf import settings

from insula.api.faults import lost, meaning

# Figures of a day are no reason to refuse service, and there are many of them.
_UNCHECKED = frozenset({"api_storedsample"})


class _Opened:
    """Which file this process works with; a removed one can still be written, and is lost."""

    identity: tuple[int, int] | None = None


def path() -> Path | None:
    """The database's file; None where the database is no file."""
    name = str(settings.DATABASES["default"]["NAME"])
    return Path(name) if name.startswith("/") else None


def check(file: Path, *, marker: Path, installation: str) -> bool:
    """Refuse a database that is lost, damaged or another installation's; False for a new one.

    ``marker`` is made by the node once its API has answered: from then on a missing or empty file
    is a loss. A new one would number customers and containers from the start, and give a stranger
    the home of whoever had the number before. Raises ApiError.
    """
    is_new = not file.exists() or file.stat().st_size == 0
    if is_new:
        if marker.exists():
            raise lost(f"{file} is missing or empty, and this installation has had one")
        return False
    with contextlib.closing(sqlite3.connect(file, timeout=20)) as connection:
        try:
            return _check_content(connection, installation, is_known=marker.exists())
        except sqlite3.Error as error:
            raise meaning(error) or lost(str(error)) from error


def _check_content(connection: sqlite3.Connection, installation: str, *, is_known: bool) -> bool:
    listed = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    tables = [name for (name,) in listed]
    if "api_revision" not in tables:
        if is_known:
            raise lost("the database has none of the API's tables")
        # A first start that was killed before its migrations: the next one goes on with them.
        return False
    owner, expected = connection.execute("PRAGMA application_id").fetchone()[0], mark(installation)
    if owner not in (0, expected):
        raise lost("the database belongs to another installation")
    for name in tables:
        if name.startswith(("api_", "django_migrations")) and name not in _UNCHECKED:
            (found,) = connection.execute(f'PRAGMA quick_check("{name}")').fetchone()
            if found != "ok":
                raise lost(f"the database is damaged: {found[:200]}")
    if owner == 0:
        connection.execute(f"PRAGMA application_id = {expected}")
    return True


def mark(installation: str) -> int:
    """The installation's number in its database's header, never 0."""
    return zlib.crc32(installation.encode()) % 0x7FFFFFFE + 1


def remember_opened(file: Path) -> None:
    """From here on ``is_in_place`` compares with this file."""
    found = file.stat()
    _Opened.identity = (found.st_dev, found.st_ino)


def is_in_place() -> bool:
    """False when the file that this process has opened was removed or replaced.

    SQLite goes on writing to a removed file, and every answer would be a lie.
    """
    file = path()
    if _Opened.identity is None or file is None:
        return True
    try:
        found = os.stat(file)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == _Opened.identity
