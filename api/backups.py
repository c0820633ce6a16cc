"""Copies of the database: before each migration and while it changes, whole and checked.

They lie on another file system than the database, so the loss of the pool does not take both.
The samples of the last day are left out: they are many, and nobody restores a node for them.
"""

import contextlib
import logging
import os
import re
import sqlite3
import threading
import time
from pathlib import Path

from django.conf import settings

from insula.api import database

RECENT_KEPT = 24
DAILY_KEPT = 7
MIGRATION_KEPT = 3
LOOK_SECONDS = 10.0
# Between two copies; more where a copy takes long, so that a hundredth of the time goes into them.
INTERVAL_SECONDS, SHARE = 30.0, 0.01
_NAME = re.compile(r"(\d{8})T\d{6}Z-(\d+)-(change|migration)\.sqlite3")
_LAST_ENTRY = "SELECT max(id) FROM api_auditentry"
log = logging.getLogger("insula.api")


def start() -> None:
    """Make copies in a thread of the node door's process; the other one makes none."""
    if settings.ROLE == "node" and settings.BACKUPS is not None:
        threading.Thread(target=_keep_making, daemon=True, name="backups").start()


def _keep_making() -> None:
    told, took = "", 0.0
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            if is_due(max(INTERVAL_SECONDS, took / SHARE)):
                begun = time.monotonic()
                make("change")
                took = time.monotonic() - begun
            told = ""
        except (OSError, sqlite3.Error) as error:
            # The old copies stay; a broken database must not push them out.
            if str(error) != told:
                told = str(error)
                log.error("backup failed: %s", error)


def is_due(interval_seconds: float) -> bool:
    """True when the newest copy is so old and something was done since, tokens and operators too.

    Those make no new revision, for no node needs to hear of them; the audit log has them all.
    """
    names = listed()
    source = database.path()
    if not names or source is None:
        return True
    newest = place() / names[-1]
    # A clock that was set back must not end the backups.
    if 0 <= time.time() - newest.stat().st_mtime < interval_seconds:
        return False
    if revision_of(names[-1]) != _revision():
        return True
    try:
        in_copy = _number(newest, _LAST_ENTRY)
    except sqlite3.Error:
        # Somebody has damaged it.
        return True
    return in_copy != _number(source, _LAST_ENTRY)


def make(why: str) -> Path | None:
    """Copy the database; the copy appears under its name when it is whole, on the disk and checked.

    ``why`` is change or migration. Returns None where no copies are made. Raises OSError and
    sqlite3.Error, and then nothing is left of the copy.
    """
    source = database.path()
    if source is None or not is_wanted():
        return None
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = place() / f"{moment}-{_revision()}-{why}.sqlite3"
    building = place() / f".{os.getpid()}.{threading.get_ident()}"
    try:
        with contextlib.closing(sqlite3.connect(source, timeout=20)) as connection:
            connection.execute("VACUUM INTO ?", (str(building),))
        with contextlib.closing(sqlite3.connect(building)) as copy:
            _slim(copy)
        _sync(building)
        os.rename(building, target)
        _sync(place())
    finally:
        for left in (building, building.with_name(f"{building.name}-journal")):
            left.unlink(missing_ok=True)
    for name in superseded(listed()):
        (place() / name).unlink(missing_ok=True)
    return target


def _slim(copy: sqlite3.Connection) -> None:
    copy.execute("DELETE FROM api_storedsample")
    copy.commit()
    copy.execute("VACUUM")
    (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"the copy is damaged: {found[:200]}")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def listed() -> list[str]:
    """The names of the copies, the oldest first: by revision, for a clock may have been wrong."""
    if not is_wanted():
        return []
    return by_age([name for name in os.listdir(place()) if _NAME.fullmatch(name)])


def by_age(names: list[str]) -> list[str]:
    """The oldest first; a database's revision grows through every restore, time may go back."""
    return sorted(names, key=lambda name: (revision_of(name), name))


def is_wanted() -> bool:
    """True where there is a place for copies; tests and development have none."""
    return settings.BACKUPS is not None and place().is_dir()


def place() -> Path:
    """The directory of the copies."""
    return Path(str(settings.BACKUPS))


def revision_of(name: str) -> int:
    """The revision that a copy has. Raises ValueError for a name that is no copy's."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name} is not the name of a backup")
    return int(found[2])


def superseded(names: list[str]) -> list[str]:
    """Those that newer ones have made needless: days and migrations are kept longer."""
    kinds: dict[str, list[str]] = {"change": [], "migration": []}
    last_of_day: dict[str, str] = {}
    for name in by_age(names):
        found = _NAME.fullmatch(name)
        if found is not None:
            kinds[found[3]].append(name)
            if found[3] == "change":
                last_of_day[found[1]] = name
    kept = {*kinds["change"][-RECENT_KEPT:], *kinds["migration"][-MIGRATION_KEPT:]}
    kept |= {last_of_day[day] for day in sorted(last_of_day)[-DAILY_KEPT:]}
    return [name for names_ in kinds.values() for name in names_ if name not in kept]


def _revision() -> int:
    source = database.path()
    return 0 if source is None else _number(source, "SELECT number FROM api_revision WHERE id = 1")


def _number(file: Path, question: str) -> int:
    """A number from a database's file, read apart from Django's connection; 0 for none."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        row = connection.execute(question).fetchone()
    return int(row[0] or 0) if row else 0
