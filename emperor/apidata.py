"""The API's database as the node sees it: that there is one, its copies, and putting one back."""

import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from insula.emperor import service, status
from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import PreparationError
from insula.emperor.kernel import cgroup
from insula.emperor.kernel.beneath import read_own
from insula.emperor.progress import Progress
from insula.emperor.rundir import directory
from insula.emperor.settings import Node, Paths
from insula.vassals.errors import InvalidValue
from insula.vassals.identity import API_UID
from insula.vassals.spec import DesiredState

# The database as it is, only brought up to what the node knows; an empty one, filled from there.
CURRENT, NEW = "current", "new"
# A daemon waits up to 30 s for a change, and the worker that holds its request outlives its master.
STOP_SECONDS = 45.0
ANSWER_SECONDS = 60.0
RESTORE_SECONDS = 600.0
_NAME = re.compile(r"\d{8}T\d{6}Z-\d+-(change|migration)\.sqlite3")
_CUSTOMER_ID = 0


def make_place(paths: Paths) -> None:
    """The directory of the copies; on the node's disk, not in the pool whose loss they outlive."""
    directory(paths.api_backups, mode=0o700, owner=API_UID, group=API_UID)


def remember_database(paths: Paths, installation: str) -> bool:
    """Note that the API has a database now; True the first time."""
    data = f"{installation}\n".encode()
    return write_atomic(paths.database_marker, data, mode=0o440, group=API_UID, lasting=True)


def backups(paths: Paths) -> list[str]:
    """The names of the copies, the oldest first: by revision, for a clock may have been wrong."""
    try:
        found = [name for name in os.listdir(paths.api_backups) if _NAME.fullmatch(name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda name: (int(name.split("-")[1]), name))


def restore(node: Node, name: str | None, progress: Progress) -> dict[str, object]:
    """Put a copy in place (the newest when ``name`` is None) and bring it up to the node's state.

    Sites and containers go on. Returns what was taken over. Raises PreparationError; when the copy
    cannot be used the database is as it was.
    """
    if service.emperor_pid(node.paths) is None:
        raise PreparationError("the node does not run", "run bin/up first, it starts the container")
    chosen = _chosen(node.paths, name)
    with _alone(node.paths):
        with progress.step("stop the API"), _without_vassals(node):
            _wait_for_end(node)
            progress.note(f"taking {chosen}")
            done = _run_inside(node, chosen)
        with progress.step("API answers"):
            _wait_for_api(node)
    return done


def _chosen(paths: Paths, name: str | None) -> str:
    known = backups(paths)
    if name is None and not known:
        raise PreparationError(
            f"there is no copy of the database in {paths.api_backups}",
            "put one of yours there; or `insula node restore new` fills a new database from"
            " what this node knows: tokens and e-mail addresses are lost then",
        )
    chosen = known[-1] if name is None else name
    if chosen not in (CURRENT, NEW, *known):
        raise PreparationError(f"there is no copy {chosen}", "insula node restore --list")
    return chosen


@contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """The lock of bin/up, which would start the API's processes again."""
    with (paths.lib / "up.lock").open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PreparationError("another bin/up works here", "wait for its end") from error
        yield


@contextmanager
def _without_vassals(node: Node) -> Iterator[None]:
    """The API's container without the API; a killed run is put right by bin/up."""
    place = node.paths.api / "vassals"
    moved = {path: path.with_name(f".{path.name}.off") for path in sorted(place.glob("*.ini"))}
    try:
        for path, aside in moved.items():
            path.rename(aside)
        yield
    finally:
        for path, aside in moved.items():
            if aside.exists():
                aside.rename(path)
                # The sub-Emperor takes a file for a new one by its time.
                os.utime(path)


def _wait_for_end(node: Node) -> None:
    """Until the container has its first process alone. Raises PreparationError."""
    groups = cgroup.detect(node.cgroup_name)
    deadline = time.monotonic() + STOP_SECONDS
    while (left := len(groups.pids(_CUSTOMER_ID, API_UID))) != 1:
        if time.monotonic() > deadline:
            raise PreparationError(
                f"container {API_UID} has {left} processes, not its first one alone",
                f"insula logs {API_UID}; end what you run in there yourself",
            )
        time.sleep(0.05)


def _run_inside(node: Node, chosen: str) -> dict[str, object]:
    """As the API's own uid in its own container: root opens no file of the API's."""
    told = {"state": _last_state(node.paths), "private_keys": _private_keys(node.paths)}
    python = "/opt/insula/current/venv/bin/python"
    done = subprocess.run(
        [node.paths.venv / "bin/insula", "--root", node.paths.root, "enter", str(API_UID), "--",
         "env", "DJANGO_SETTINGS_MODULE=insula.api.settings", python, "-m",
         "insula.api.recovery", chosen],
        input=json.dumps(told), capture_output=True, text=True, check=False,
        timeout=RESTORE_SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:]
        raise PreparationError(
            f"{chosen} was not restored: {' '.join(said)[:400]}",
            "insula node restore --list names others",
        )
    found = json.loads(done.stdout)
    return found if isinstance(found, dict) else {}


def _last_state(paths: Paths) -> dict[str, object] | None:
    """The last feed that the node took; None without one, or when it is damaged."""
    try:
        found = json.loads((paths.lib / "feed-configurator.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _private_keys(paths: Paths) -> dict[str, str]:
    """The private keys that lie on this node for its containers, by customer.

    The database has lost them, or cannot open them. The files are root's work, below a directory of
    root's; the API looks whether each fits the public key that the node knows.
    """
    state = _last_state(paths)
    try:
        containers = DesiredState.from_json(state).containers
    except InvalidValue:
        return {}
    found: dict[str, str] = {}
    for spec in containers:
        pem = _read_key(paths.keys(spec.uid) / "signing.pem")
        if pem is not None and spec.uid != API_UID:
            found[str(spec.customer_id)] = pem
    return found


def _read_key(path: Path) -> str | None:
    try:
        data = read_own(path)
    except OSError:
        return None
    return None if data is None else data.decode("ascii", errors="replace")


def _wait_for_api(node: Node) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while not status.api_answers(node):
        if time.monotonic() > deadline:
            raise PreparationError("the API does not answer", f"insula logs {API_UID}")
        time.sleep(0.1)
