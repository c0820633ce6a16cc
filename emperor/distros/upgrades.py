"""What is on disk of a distro's upgrade, so that a killed one goes on where it was."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from insula.emperor.daemon.files import write_atomic
from insula.emperor.distros.builds import Build
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Paths

# moving: from the old build to the new; back: to the old; done: kept for a rollback
State = Literal["moving", "back", "done"]
_STATES: tuple[State, ...] = ("moving", "back", "done")
_SUFFIX = ".upgrade.json"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A change of a distro's containers from one build to another; both trees stay till it ends.

    ``announced`` has the domains that each container had before it was moved, by uid.
    """

    distro: str
    old: int
    new: int
    state: State
    announced: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def old_build(self) -> Build:
        return Build(self.distro, self.old)

    @property
    def new_build(self) -> Build:
        return Build(self.distro, self.new)

    @property
    def is_open(self) -> bool:
        return self.state != "done"

    def noted(self, paths: Paths, uid: int, domains: frozenset[str]) -> "Upgrade":
        """The same with what a container announces now; what was noted before stays."""
        if str(uid) in self.announced:
            return self
        announced = {**self.announced, str(uid): sorted(domains)}
        return replace(self, announced=announced).saved(paths, self.state)

    def saved(self, paths: Paths, state: State) -> "Upgrade":
        """The same in another state, on disk when this returns."""
        found = replace(self, state=state)
        data = json.dumps(asdict(found)).encode() + b"\n"
        write_atomic(_path(paths, self.distro), data, mode=0o600)
        return found


def _path(paths: Paths, distro: str) -> Path:
    return paths.distros / f".{distro}{_SUFFIX}"


def read(paths: Paths, distro: str) -> Upgrade | None:
    """The last upgrade of a distro, None when there was none or it is forgotten.

    Raises PreparationError for a file that cannot be read.
    """
    path = _path(paths, distro)
    try:
        value = json.loads(path.read_bytes())
        state = value["state"]
        if state not in _STATES or value["distro"] != distro:
            raise ValueError("it is not this distro's")
        announced = {str(uid): [str(name) for name in domains]
                     for uid, domains in value.get("announced", {}).items()}  # fmt: skip
        return Upgrade(distro, int(value["old"]), int(value["new"]), state, announced)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PreparationError(
            f"{path}: {error}", f"remove it, then run: insula distro upgrade {distro}"
        ) from error


def everyone(paths: Paths) -> list[Upgrade]:
    """All upgrades that are kept; a file that cannot be read counts as none."""
    found = []
    for path in sorted(paths.distros.glob(f".*{_SUFFIX}")):
        try:
            found.append(read(paths, path.name[1 : -len(_SUFFIX)]))
        except PreparationError:
            continue
    return [item for item in found if item is not None]


def held(paths: Paths) -> frozenset[str]:
    """The distros whose containers an upgrade moves one by one at present."""
    return frozenset(item.distro for item in everyone(paths) if item.is_open)


def forget(paths: Paths, distro: str) -> None:
    _path(paths, distro).unlink(missing_ok=True)
