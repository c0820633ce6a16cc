"""What destroyed containers left: kept aside until an operator deletes it."""

import time
from dataclasses import dataclass

from insula.emperor.errors import StorageError
from insula.emperor.settings import Node
from insula.emperor.storage import driver


@dataclass(frozen=True, slots=True)
class Removed:
    """The data of one destroyed container; ``name`` is ``<uid>-<unix time>``."""

    name: str
    uid: int
    removed_at: int

    def to_json(self) -> dict[str, object]:
        return {"name": self.name, "uid": self.uid, "removed_at": self.removed_at}


def listed(node: Node) -> list[Removed]:
    """All of them, the oldest first."""
    found = []
    for path in node.paths.removed.iterdir():
        uid, dash, moment = path.name.partition("-")
        if dash and uid.isdecimal() and moment.isdecimal():
            found.append(Removed(path.name, int(uid), int(moment)))
    return sorted(found, key=lambda item: item.removed_at)


def older_than(items: list[Removed], *, days: float, now: float) -> list[Removed]:
    """Those that were set aside at least ``days`` before ``now`` (unix seconds)."""
    return [item for item in items if item.removed_at <= now - days * 86400]


def purge(node: Node, names: list[str]) -> None:
    """Delete some of them for good. Raises StorageError for a name that is none of them."""
    known = {item.name for item in listed(node)}
    unknown = sorted(set(names) - known)
    if unknown:
        raise StorageError(f"{unknown[0]} is not set aside here", "insula node removed lists them")
    storage = driver(node)
    for name in names:
        storage.purge(node.paths.removed / name)


def age_text(item: Removed) -> str:
    """The day it was set aside, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(item.removed_at))
