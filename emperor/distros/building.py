"""Builds a distro: fetched and packed by mmdebstrap, unpacked aside, swapped in whole."""

import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from insula.emperor import aptsources
from insula.emperor.distros import store
from insula.emperor.distros.recipe import Recipe
from insula.emperor.distros.tree import finish
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node
from insula.emperor.storage import driver

CACHE = Path("/var/cache/insula/distros")
# A node that is set up takes a packed distro of at most this age instead of building one.
CACHE_SECONDS = 7 * 24 * 3600
_LEFT_OUT = ("doc", "man", "locale", "info", "lintian")

Progress = Callable[[str], None]


def build(node: Node, name: str, wanted: Recipe, progress: Progress, *, fresh: bool = True) -> None:
    """Make or replace the distro ``name``; until it is whole, the old one stays.

    With ``fresh`` the packages are fetched anew, else a recent pack of the same recipe will do.
    Raises PreparationError when the build fails: then nothing has changed.
    """
    store.check_name(name)
    storage = driver(node)
    directory = node.paths.distros
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    store.collect_old(node, storage)
    pack = packed(wanted, progress, fresh=fresh)
    unfinished = directory / f".{name}.tmp"
    if unfinished.exists():
        storage.delete_tree(unfinished)
    storage.create_tree(unfinished)
    try:
        progress("unpacking")
        _unpack(pack, unfinished)
        finish(unfinished)
        storage.make_readonly(unfinished)
        store.put_in_place(unfinished, directory / name)
    except BaseException:
        storage.delete_tree(unfinished)
        raise
    store.collect_old(node, storage)


def packed(wanted: Recipe, progress: Progress, *, fresh: bool) -> Path:
    """The packed tree of a recipe, from the machine's cache or built now."""
    pack = CACHE / f"{wanted.key()}.tar"
    try:
        age = time.time() - pack.stat().st_mtime
    except FileNotFoundError:
        age = float("inf")
    if not fresh and age < CACHE_SECONDS:
        progress(f"using the packed {wanted.suite} of {age / 3600:.0f} hours ago")
        return pack
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = CACHE.lstat()
    # What lies here becomes root file systems: nobody else may have put it there.
    if found.st_uid != 0 or found.st_mode & 0o022 or not stat.S_ISDIR(found.st_mode):
        raise PreparationError(f"{CACHE} is not root's own directory", f"rm -r {CACHE}")
    unfinished = CACHE / f".{pack.name}.{os.getpid()}"
    try:
        _bootstrap(wanted, unfinished, progress)
        unfinished.rename(pack)
    finally:
        unfinished.unlink(missing_ok=True)
    return pack


def _bootstrap(wanted: Recipe, target: Path, progress: Progress) -> None:
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    with tempfile.TemporaryDirectory(prefix="insula-distro-") as work:
        argv = [
            "mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar",
            f"--include={','.join(wanted.packages)}",
            '--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"',
            *[f"--aptopt={setting}" for setting in aptsources.host_network_settings()],
            *left_out, "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            wanted.suite, str(target),
        ]  # fmt: skip
        if wanted.sources:
            listed = Path(work) / "sources.list"
            listed.write_text("\n".join(wanted.sources) + "\n")
            argv.append(str(listed))
        _follow(argv, progress)


def _follow(argv: list[str], progress: Progress) -> None:
    """Run mmdebstrap and pass its own steps on."""
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise PreparationError("mmdebstrap is missing", "apt-get install mmdebstrap") from error
    said: list[str] = []
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            said = [*said[-30:], line.rstrip()]
            if line.startswith("I: ") and line.rstrip().endswith("..."):
                progress(line[3:].rstrip(". \n"))
    if process.returncode != 0:
        raise PreparationError(
            "mmdebstrap failed:\n" + "\n".join(said[-12:]),
            "are the package sources reachable? `apt-get update` says more; --mirror takes another",
        )


def _unpack(pack: Path, tree: Path) -> None:
    done = subprocess.run(
        ["tar", "--extract", "--preserve-permissions", "--numeric-owner", "--exclude=./dev/*",
         "--xattrs", f"--file={pack}", f"--directory={tree}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pack.unlink()  # a spoilt pack must not spoil the next try
        raise PreparationError(
            f"{pack} cannot be unpacked: {done.stderr.strip()[-400:]}", "try again"
        )
