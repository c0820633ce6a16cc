"""What a failing database means to whoever asked; one line a minute in the log for each fault."""

import logging
import sqlite3
import threading
import time

from django.db import DatabaseError

from insula.api.errors import ApiError, Code

REPEAT_SECONDS = 60.0
_RESTORE = "the operator runs `insula node restore`"
_FULL = frozenset({sqlite3.SQLITE_FULL})
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DISK = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
)

_told: dict[str, float] = {}
_telling = threading.Lock()
log = logging.getLogger("insula.api")


class CrashesAlone(logging.Filter):
    """Lets a record pass that tells of an exception; what was refused was told to the asker."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


def refusal(error: BaseException) -> ApiError | None:
    """The same as ``meaning``, and once a minute a line in the log."""
    found = meaning(error)
    if found is not None and _is_news(found.message):
        log.error("database-failed %s", found.message)
    return found


def _is_news(text: str) -> bool:
    now = time.monotonic()
    with _telling:
        if now - _told.get(text, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        _told[text] = now
    return True


def meaning(error: BaseException) -> ApiError | None:
    """What a database's error means to whoever asked; None when it is no fault of the storage."""
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _FULL:
        return ApiError(
            Code.NO_SPACE, "the API's disk is full, nothing was changed",
            "the operator frees space: insula node doctor",
        )  # fmt: skip
    if code in _BUSY:
        return ApiError(
            Code.BUSY, "the database is locked by another program, nothing was changed",
            "ask again; the operator looks for what holds it: fuser api.sqlite3",
        )  # fmt: skip
    if code in _BROKEN:
        return lost(f"the database is damaged: {cause}")
    if code in _DISK:
        return ApiError(
            Code.DATABASE, f"the database cannot be used: {cause}; nothing was changed",
            "the disk is full, read-only or failing: insula node doctor",
        )  # fmt: skip
    return None


def lost(reason: str) -> ApiError:
    """The refusal to work with a database that only a copy of it can replace."""
    text = f"{reason}; the API changes nothing until it is restored"
    return ApiError(Code.DATABASE, text, _RESTORE)
