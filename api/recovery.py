"""Puts a copy of the database in place: ``python -m insula.api.recovery NAME`` in container 30000.

NAME ``current`` keeps the database and only brings it up to what the node knows; ``new`` begins an
empty one and takes all from there. The API's processes must not run. Standard input is JSON:
``state``, the node's last desired state or null, and ``private_keys``, by customer what lies on the
node. Standard output is what was taken over, as JSON. `insula node restore` does it.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import django

CURRENT, NEW = "current", "new"
_PARTS = ("", "-wal", "-shm", "-journal")


def main() -> None:
    """Exit status 1 and one line when the copy cannot be used: then nothing was changed."""
    django.setup(set_prefix=False)
    from insula.vassals.errors import InsulaError

    try:
        told = json.loads(sys.stdin.read())
        private_keys = {int(number): str(pem) for number, pem in told["private_keys"].items()}
        print(json.dumps(restore(sys.argv[1], told["state"], private_keys)))
    except (InsulaError, OSError) as error:
        sys.exit(f"error: {error}")


def restore(name: str, told: object, private_keys: Mapping[int, str]) -> dict[str, object]:
    """Set the present database aside, put the copy in its place, take over what the node knows."""
    from django.conf import settings
    from django.core.management import call_command

    from insula.api import backups, database, revocations
    from insula.api.actions.actor import ROOT
    from insula.api.actions.adopting import adopt
    from insula.vassals.spec import DesiredState

    file = database.path()
    if file is None or name not in (CURRENT, NEW, *backups.listed()):
        raise OSError(f"there is no backup {name}")
    state = None if told is None else DesiredState.from_json(told)
    if name == NEW and state is None:
        raise OSError("the node knows no state that a new database could be filled from")
    # Read first: when it cannot be read, nothing is changed.
    revoked = revocations.noted()
    aside = None
    if name != CURRENT:
        aside = _replace(file, None if name == NEW else backups.place() / name)
    if name != NEW:
        database.check(file, marker=settings.DATABASE_MARKER, installation=settings.INSTALLATION)
    call_command("migrate", interactive=False, verbosity=0)
    return {"backup": name, "aside": aside, **asdict(adopt(ROOT, state, private_keys, revoked))}


def _replace(file: Path, source: Path | None) -> str | None:
    """Have the copy at ``file``, or nothing; returns the name under which the old one is kept."""
    from django.conf import settings

    from insula.api import database

    if source is None:
        return _set_aside(file)
    copied = file.with_name(f".{file.name}.restoring")
    shutil.copyfile(source, copied)
    database.check(copied, marker=settings.DATABASE_MARKER, installation=settings.INSTALLATION)
    with copied.open("rb") as written:
        os.fsync(written.fileno())
    aside = _set_aside(file)
    os.rename(copied, file)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return aside


def _set_aside(file: Path) -> str | None:
    """Keep what is there: somebody may still read from it what the copy does not have."""
    aside = file.with_name(f"{file.name}.broken-{int(time.time())}")
    found = None
    for part in _PARTS:
        source = file.with_name(file.name + part)
        if source.exists():
            os.rename(source, aside.with_name(aside.name + part))
            found = aside.name
    return found


if __name__ == "__main__":
    main()
