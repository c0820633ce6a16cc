"""The builds of distros: each is a tree of its own that never changes, under a name of its own.

``distros/<name>`` is a link to the current build, ``distros/.<name>+<number>``. A container stands
on one build (ground.py) and stays on it through crashes, whatever becomes of the name.
"""

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import PreparationError
from insula.emperor.kernel.exchange import exchange
from insula.emperor.settings import Paths

_NAME = re.compile(r"\.(?P<distro>[A-Za-z0-9._-]{1,64})\+(?P<number>[0-9]{1,20})")


@dataclass(frozen=True, slots=True, order=True)
class Build:
    """One build of a distro; ``number`` is when it was made, in nanoseconds.

    Number 0 stands for a tree that lies at the distro's own name, as nodes had it before.
    """

    distro: str
    number: int

    @property
    def name(self) -> str:
        return f".{self.distro}+{self.number}" if self.number else self.distro

    def tree(self, paths: Paths) -> Path:
        return paths.distros / self.name

    def facts(self, paths: Paths) -> Path:
        """Where ``Facts`` are kept: beside the tree, since customers read what is in it."""
        return paths.distros / f"{self.name}.json"

    @classmethod
    def parse(cls, name: str) -> "Build | None":
        """The build of a directory's name, None when it is no build's."""
        found = _NAME.fullmatch(name)
        return cls(found["distro"], int(found["number"])) if found else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a build: for lists, and for making the next one the same way."""

    suite: str = ""
    architecture: str = ""
    size_bytes: int = -1
    made_at: float = 0.0
    # "built" with the recipe below, "imported" from an archive
    origin: str = "built"
    mirror: str | None = None
    include: tuple[str, ...] = ()
    minimal: bool = False
    wanted_suite: str | None = None
    wanted_architecture: str | None = None

    def write(self, path: Path) -> None:
        # A mirror's address may hold a password.
        write_atomic(path, json.dumps(asdict(self)).encode() + b"\n", mode=0o600)


def facts_of(paths: Paths, build: Build) -> Facts:
    """The facts as they were kept; empty ones for a build from before they were."""
    try:
        found = json.loads(build.facts(paths).read_bytes())
        return Facts(**{**found, "include": tuple(found.get("include", ()))})
    except (OSError, ValueError, TypeError):
        number = build.number / 1e9
        return Facts(made_at=number, origin="unknown")


def names(paths: Paths) -> list[str]:
    """The distros that containers may have."""
    try:
        entries = sorted(paths.distros.iterdir())
    except FileNotFoundError:
        return []
    return [path.name for path in entries if not path.name.startswith(".") and path.is_dir()]


def current(paths: Paths, distro: str) -> Build | None:
    """The build on which new containers of a distro stand; None when there is no such distro."""
    place = paths.distros / distro
    if distro.startswith("."):
        return None
    try:
        found = Build.parse(os.readlink(place))
    except OSError:
        return Build(distro, 0) if place.is_dir() else None
    return found if found and found.tree(paths).is_dir() else None


def all_builds(paths: Paths) -> list[Build]:
    """Every finished build, oldest first."""
    try:
        found = [Build.parse(name) for name in os.listdir(paths.distros)]
    except FileNotFoundError:
        return []
    return sorted(build for build in found if build and build.tree(paths).is_dir())


def new(distro: str) -> Build:
    return Build(distro, time.time_ns())


def make_current(paths: Paths, build: Build) -> None:
    """Let the distro's name mean this build, in one step."""
    place = paths.distros / build.distro
    link = paths.distros / f".{build.distro}.link"
    link.unlink(missing_ok=True)
    link.symlink_to(build.name)
    link.rename(place)


def adopt(paths: Paths) -> list[Build]:
    """Make builds of the trees that lie at a distro's own name; twice is once.

    A container that boots in the meantime finds the tree at its name at every moment.
    """
    made = []
    for name in names(paths):
        place = paths.distros / name
        if place.is_symlink():
            continue
        build = Build(name, _number_of(place))
        link = build.tree(paths)
        link.unlink(missing_ok=True)
        link.symlink_to(build.name)
        exchange(place, link)
        made.append(build)
    return made


def _number_of(tree: Path) -> int:
    try:
        return int((tree / "etc/insula-distro").read_text())
    except (OSError, ValueError):
        return time.time_ns()


@contextlib.contextmanager
def changing(paths: Paths) -> Iterator[None]:
    """Let one command at a time change distros. Raises PreparationError when another one does."""
    fd = os.open(paths.lib / "distros.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise PreparationError(
            "another command is changing the distros of this node", "wait for its end"
        ) from error
    finally:
        os.close(fd)
