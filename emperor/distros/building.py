"""Builds a distro: fetched and packed by mmdebstrap, unpacked aside, swapped in whole."""

import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from insula.emperor import aptsources
from insula.emperor.distros import (
    architectures,
    builds,
    grounding,
    leftovers,
    making,
    steps,
    store,
    upgrades,
)
from insula.emperor.distros.builds import Build, Facts
from insula.emperor.distros.recipe import Recipe
from insula.emperor.distros.tree import finish, host_certificates
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node
from insula.emperor.storage import driver

CACHE = Path("/var/cache/insula/distros")
# A node that is set up takes a packed distro of at most this age instead of building one.
CACHE_SECONDS = 7 * 24 * 3600
_LEFT_OUT = ("doc", "man", "locale", "info", "lintian")

Progress = Callable[[str], None]


def build(
    node: Node, name: str, wanted: Recipe, progress: Progress, *, fresh: bool = True
) -> Build:
    """Make or renew the distro ``name``: new containers and asked-for reboots take the new build.

    With ``fresh`` the packages are fetched anew, else a recent pack of the same recipe will do.
    Raises PreparationError when the build fails: then nothing has changed.
    """
    store.check_name(name)
    with builds.changing(node.paths):
        refuse_open_upgrade(node, name)
        made = new_build(node, name, wanted, progress, fresh=fresh)
        builds.make_current(node.paths, made)
        making.sweep(node, driver(node))
    grounding.tell(node, made=name)
    return made


def new_build(node: Node, name: str, wanted: Recipe, progress: Progress, *, fresh: bool) -> Build:
    """A new build that nothing stands on yet; the caller holds ``builds.changing``."""
    pack = packed(wanted, progress, fresh=fresh)

    def fill(tree: Path, number: int) -> None:
        progress("unpacking")
        _unpack(pack, tree)
        finish(tree, number, certificates=host_certificates())

    return making.make(node, name, facts_of(wanted), fill)


def refuse_open_upgrade(node: Node, name: str) -> None:
    """Raises PreparationError while an upgrade of the distro has not come to its end."""
    found = upgrades.read(node.paths, name)
    if found is not None and found.is_open:
        raise PreparationError(
            f"an upgrade of {name} is not finished",
            f"insula distro upgrade {name} goes on, insula distro rollback {name} undoes it",
        )


def facts_of(wanted: Recipe) -> Facts:
    """What the next build needs to be made the same way."""
    return Facts(
        suite=wanted.suite,
        architecture=wanted.architecture,
        mirror=wanted.mirror,
        include=wanted.include,
        minimal=wanted.minimal,
        wanted_suite=wanted.suite,
        wanted_architecture=wanted.architecture or None,
    )


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
    architectures.require(wanted.architecture)
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
    leftovers.sweep(CACHE)
    with tempfile.TemporaryDirectory(prefix=leftovers.prefix()) as work:
        os.chmod(work, 0o711)  # apt fetches as an account of its own
        argv = [
            "mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar",
            f"--include={','.join(wanted.packages)}", *_optional(wanted),
            *([f"--architectures={wanted.architecture}"] if wanted.architecture else []),
            '--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"',
            *[f"--aptopt={setting}" for setting in aptsources.host_network_settings()],
            *left_out, "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            *steps.hooks(Path(work)), wanted.suite, str(target),
        ]  # fmt: skip
        if wanted.sources:
            listed = Path(work) / "sources.list"
            listed.touch(mode=0o600)
            listed.write_text("\n".join(wanted.sources) + "\n")
            argv.append(str(listed))
        _follow(argv, progress, temporary=work)
        for line in steps.said(Path(work)):
            progress(line)
        for name in wanted.missing(steps.installed(Path(work))):
            progress(f"{wanted.suite} has no package {name}: made without")


def _optional(wanted: Recipe) -> list[str]:
    """One apt pattern (apt-patterns(7)) of all names: it takes those that the release has."""
    if not wanted.optional:
        return []
    return [f'--include=?and(?not(?virtual),?name("^({"|".join(wanted.optional)})$"))']


def _follow(argv: list[str], progress: Progress, *, temporary: str) -> None:
    """Run mmdebstrap and pass its own steps on."""
    if shutil.which(argv[0]) is None:
        raise PreparationError("mmdebstrap is missing", "apt-get install mmdebstrap")
    process = subprocess.Popen(
        [*leftovers.ALONE, "env", f"TMPDIR={temporary}", *argv],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
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
        # Blocks of 1 MiB halve the time. Extended attributes stay out: file capabilities are
        # nothing that a container may have.
        ["tar", "--extract", "--preserve-permissions", "--numeric-owner", "--exclude=./dev/*",
         "--blocking-factor=2048", f"--file={pack}", f"--directory={tree}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pack.unlink()  # a spoilt pack must not spoil the next try
        raise PreparationError(
            f"{pack} cannot be unpacked: {done.stderr.strip()[-400:]}", "try again"
        )
