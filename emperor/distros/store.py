"""The distros of a node: which there are, who stands on them, and removing one."""

import re

from insula.emperor.distros import builds, grounding, making, upgrades
from insula.emperor.errors import PreparationError
from insula.emperor.release import DISTRO as API_DISTRO
from insula.emperor.settings import Node
from insula.emperor.storage import driver
from insula.vassals import names
from insula.vassals.errors import InvalidValue


class DistroInUse(PreparationError):
    """A container stands on it, so it stays."""


class UnknownDistro(PreparationError):
    """No such distro."""

    exit_code = 4


def listed(node: Node) -> list[str]:
    """The names of the distros that containers may use."""
    return [name for name in builds.names(node.paths) if name != API_DISTRO]


def users(node: Node, name: str) -> list[str]:
    """The containers whose vassal file names this distro."""
    line = re.compile(rf"^set-ph = distro={re.escape(name)}$", re.MULTILINE)
    return [
        path.stem
        for path in sorted(node.paths.vassals.glob("*.ini"))
        if line.search(path.read_text())
    ]


def require(node: Node, name: str) -> None:
    """Raises UnknownDistro or InvalidValue unless this node has the distro."""
    check_name(name)
    if builds.current(node.paths, name) is None:
        raise UnknownDistro(f"there is no distro {name}", "insula distro list")


def remove(node: Node, name: str) -> None:
    """Delete a distro that no container uses. Raises DistroInUse, UnknownDistro or InvalidValue."""
    require(node, name)
    if name == node.settings.default_distro:
        raise DistroInUse(f"{name} is the default distro of new containers", "it stays")
    inside = users(node, name)
    if inside:
        raise DistroInUse(
            f"distro {name} is in use by {', '.join(inside[:10])}",
            "give these containers another distro or destroy them first",
        )
    with builds.changing(node.paths):
        builds.adopt(node.paths)
        upgrades.forget(node.paths, name)
        (node.paths.distros / name).unlink()
        making.sweep(node, driver(node))
    grounding.tell(node)


def check_name(name: str) -> None:
    """Raises InvalidValue unless it can be the name of a distro."""
    if not names.is_token(name) or name.startswith("."):
        raise InvalidValue(f"{name!r} is not a distro's name", "use letters, digits, '-' and '_'")
    if name == API_DISTRO:
        raise InvalidValue(f"{name} is the API's own", "an upgrade of the default distro renews it")
