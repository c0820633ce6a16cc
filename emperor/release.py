"""The API's code: a release with an environment made by its own distro's Python, switched whole."""

import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from insula.emperor.command import run
from insula.emperor.daemon.files import write_atomic
from insula.emperor.distros import builds
from insula.emperor.distros.builds import Build
from insula.emperor.errors import PreparationError
from insula.emperor.prepare import replaced
from insula.emperor.rundir import directory
from insula.emperor.settings import Node, Paths
from insula.emperor.storage import driver

DISTRO = "insula-api"
# What the API is made of; a change in the daemons' code makes no new release.
_PARTS = ("insula/api/", "insula/vassals/")
_KEPT_RELEASES = 2

Progress = Callable[[str], None]


def wheel() -> Path:
    """The wheel that this very environment was installed from; bin/up keeps it there."""
    found = sorted((Path(sys.prefix) / "wheel").glob("insula-*.whl"))
    if len(found) != 1:
        raise PreparationError(
            f"{sys.prefix} was not made by bin/up: the product's wheel is missing",
            "run bin/up of the checkout",
        )
    return found[0]


def make_distro(node: Node) -> bool:
    """Give the API a root file system of its own, once; True when it was made.

    It stays through builds of the default distro: `insula distro upgrade` of that renews it.
    """
    if builds.current(node.paths, DISTRO) is not None:
        return False
    source = builds.current(node.paths, node.settings.default_distro)
    if source is None:
        raise PreparationError("the default distro is missing", "insula distro build default")
    builds.make_current(node.paths, clone(node, source))
    return True


def clone(node: Node, source: Build) -> Build:
    """A build of the API's own distro from one of another; a second time finds the first."""
    made = Build(DISTRO, source.number or builds.new(DISTRO).number)
    if made.tree(node.paths).is_dir():
        return made
    storage, unfinished = driver(node), node.paths.distros / f".{DISTRO}.tmp"
    storage.delete_tree(unfinished)
    storage.clone_tree(source.tree(node.paths), unfinished)
    storage.make_readonly(unfinished)
    builds.facts_of(node.paths, source).write(made.facts(node.paths))
    unfinished.rename(made.tree(node.paths))
    return made


def install(node: Node, values: dict[str, str], progress: Progress) -> bool:
    """Build the release of this version if it is missing and make it the current one.

    Returns True when the API's vassals were changed or told to load the new release; its container
    goes on. Raises PreparationError, and then the old release stays current.
    """
    paths, source = node.paths, wheel()
    tree = paths.distros / DISTRO
    name = release_name(source, python_of(tree))
    place = paths.api / "releases" / name
    if not (place / "complete").exists():
        _build(paths, tree, place, source, progress)
    switched = _switch(paths.api / "current", f"releases/{name}")
    changed = _install_vassals(paths.api / "vassals", source, values)
    if switched:
        # uWSGI starts an app again when its file is touched; `chdir` then finds the new release.
        for path in (paths.api / "vassals").glob("*.ini"):
            os.utime(path)
    _remove_old(paths.api / "releases", keep=place)
    return switched or changed


def python_of(tree: Path) -> str:
    """The version of a tree's Python, for instance 3.11."""
    target = os.readlink(tree / "usr/bin/python3")
    version = Path(target).name.removeprefix("python")
    if not version.replace(".", "").isdecimal():
        raise PreparationError(f"{tree} has no Python", "insula distro build default, then bin/up")
    return version


def release_name(source: Path, python: str) -> str:
    """A name that changes with the API's code, its requirements and its Python."""
    digest = sha256(python.encode())
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(_PARTS) or name.endswith(".dist-info/METADATA"):
                digest.update(name.encode() + b"\0" + archive.read(name))
    return digest.hexdigest()[:12]


def _build(paths: Paths, tree: Path, place: Path, source: Path, progress: Progress) -> None:
    directory(paths.api, mode=0o755)
    directory(place.parent, mode=0o755)
    if place.exists():
        shutil.rmtree(place)  # an earlier try that did not get to its end
    wheels = place / "wheels"
    wheels.mkdir(parents=True)
    try:
        progress("fetching what the API needs")
        shutil.copy(source, wheels)
        # On the host, with the machine's pip settings; inside there is neither network nor secret.
        run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
             f"--dest={wheels}", f"--python-version={python_of(tree)}", "--only-binary=:all:",
             f"{wheels / source.name}[api]"],
            hint="is the package index reachable? The machine's pip settings are used",
        )  # fmt: skip
        progress("installing the API")
        run(
            ["unshare", "--mount", "--net", "--propagation=private", "--", sys.executable, "-m",
             "insula.emperor.inside", str(tree), str(paths.api), place.name]
        )  # fmt: skip
        shutil.rmtree(wheels)
        (place / "complete").write_text("")
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _switch(link: Path, target: str) -> bool:
    if link.is_symlink() and os.readlink(link) == target:
        return False
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(link)
    return True


def _install_vassals(target: Path, source: Path, values: dict[str, str]) -> bool:
    directory(target, mode=0o755)
    changed, shipped = False, set()
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if name.startswith("insula/api/vassals/") and name.endswith(".ini"):
                text = replaced(archive.read(name).decode(), values, name=name)
                shipped.add(Path(name).name)
                changed |= write_atomic(target / Path(name).name, text.encode())
    for path in target.glob("*.ini"):
        if path.name not in shipped:
            path.unlink()
            changed = True
    return changed


def _remove_old(releases: Path, *, keep: Path) -> None:
    """Keep the current release and the one before: an app that just loads may still need it."""
    others = [path for path in releases.iterdir() if path != keep]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_KEPT_RELEASES - 1 :]:
        if time.time() - path.stat().st_mtime > 60:
            shutil.rmtree(path)
