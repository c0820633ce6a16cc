"""The distros of a node: which there are, who stands on them, swapping and deleting trees."""

import re
import time
from pathlib import Path

from insula.emperor.errors import PreparationError
from insula.emperor.kernel.exchange import exchange
from insula.emperor.settings import Node
from insula.emperor.storage import Storage, driver
from insula.vassals import names
from insula.vassals.errors import InvalidValue


class DistroInUse(PreparationError):
    """A container stands on it, so it stays."""


class UnknownDistro(PreparationError):
    """No such distro."""

    exit_code = 4


def listed(node: Node) -> list[str]:
    """The names of the distros that containers may use."""
    try:
        entries = sorted(node.paths.distros.iterdir())
    except FileNotFoundError:
        return []
    return [path.name for path in entries if not path.name.startswith(".") and path.is_dir()]


def users(node: Node, name: str) -> list[str]:
    """The containers whose vassal file names this distro."""
    line = re.compile(rf"^set-ph = distro={re.escape(name)}$", re.MULTILINE)
    return [
        path.stem
        for path in sorted(node.paths.vassals.glob("*.ini"))
        if line.search(path.read_text())
    ]


def remove(node: Node, name: str) -> None:
    """Delete a distro that no container uses. Raises DistroInUse or InvalidValue."""
    check_name(name)
    target = node.paths.distros / name
    if not target.is_dir():
        raise UnknownDistro(f"there is no distro {name}", "insula distro list")
    if name == node.settings.default_distro:
        raise DistroInUse(f"{name} is the default distro of new containers", "it stays")
    inside = users(node, name)
    if inside:
        raise DistroInUse(
            f"distro {name} is in use by {', '.join(inside[:10])}",
            "give these containers another distro or destroy them first",
        )
    aside = target.with_name(f".{name}.old-{time.time_ns()}")
    target.rename(aside)
    collect_old(node, driver(node))


def put_in_place(unfinished: Path, target: Path) -> None:
    """Give a finished tree its name in one step; the old tree goes aside under a dot name."""
    if not target.exists():
        unfinished.rename(target)
        return
    exchange(unfinished, target)
    unfinished.rename(target.with_name(f".{target.name}.old-{time.time_ns()}"))


def collect_old(node: Node, storage: Storage) -> None:
    """Delete replaced trees that no container stands on any more."""
    old = [path for path in node.paths.distros.glob(".*") if ".old-" in path.name]
    if not old:
        return
    mounted = _mounted_roots()
    for path in old:
        if not any(path.name in line for line in mounted):
            storage.delete_tree(path)


def _mounted_roots() -> set[str]:
    # Fourth field: which directory of its file system a mount shows, under its name of now.
    found: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            found.update(line.split(" ")[3] for line in path.read_text().splitlines())
        except OSError:
            continue
    return found


def check_name(name: str) -> None:
    """Raises InvalidValue unless it can be the name of a distro."""
    if not names.is_token(name) or name.startswith("."):
        raise InvalidValue(f"{name!r} is not a distro's name", "use letters, digits, '-' and '_'")
