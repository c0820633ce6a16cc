"""Distros: the read-only root file systems of containers; built aside, swapped in whole."""

import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from insula.emperor import aptsources
from insula.emperor.errors import PreparationError
from insula.emperor.kernel.exchange import exchange
from insula.emperor.settings import Node
from insula.emperor.storage import Storage, driver
from insula.vassals import names
from insula.vassals.errors import InvalidValue

CACHE = Path("/var/cache/insula/distros")
# A node that is set up takes a packed distro of at most this age instead of building one.
CACHE_SECONDS = 7 * 24 * 3600
# Grows when the way a tree is made changes, so that no old pack is taken for a new one.
RECIPE = 1
PACKAGES = (
    "uwsgi-core", "uwsgi-plugin-python3", "python3", "python3-venv", "python3-pip",
    "git", "curl", "ca-certificates", "vim-tiny", "less", "procps", "rsync", "sqlite3",
    "openssh-client", "openssh-sftp-server", "bash-completion",
)  # fmt: skip
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
_LEFT_OUT = ("doc", "man", "locale", "info", "lintian")
# Where a booting container mounts something, and files that are bound over.
_PLACES = ("containers", "opt/insula", ".old_root", "run", "tmp", "var/tmp", "proc", "sys", "dev")
# Tells one build of a distro from the next.
BUILD_ID = "etc/insula-distro"
_FILES = ("hosts", "hostname", "resolv.conf", "machine-id")

Progress = Callable[[str], None]


class DistroInUse(PreparationError):
    """A container stands on it, so it stays."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a distro is made from."""

    suite: str
    sources: tuple[str, ...]
    packages: tuple[str, ...]

    def key(self) -> str:
        parts = [str(RECIPE), self.suite, *self.sources, *sorted(self.packages)]
        return f"{self.suite}-{sha256(chr(10).join(parts).encode()).hexdigest()[:12]}"


def recipe(
    *, suite: str | None = None, mirror: str | None = None, include: tuple[str, ...] = ()
) -> Recipe:
    """The host's own release and package sources unless said otherwise. Raises InvalidValue."""
    own = aptsources.host_suite()
    wanted = suite or own
    if _SUITE.fullmatch(wanted) is None:
        raise InvalidValue(f"suite: {wanted!r} is not one", "for instance bookworm or noble")
    for package in include:
        if _PACKAGE.fullmatch(package) is None:
            raise InvalidValue(f"include: {package!r} is not a package's name")
    if mirror is not None:
        sources: tuple[str, ...] = (aptsources.line_of(mirror, wanted),)
    else:
        # Without sources mmdebstrap takes the official mirrors of the suite.
        sources = aptsources.host_sources(wanted) if wanted == own else ()
    return Recipe(wanted, sources, tuple(dict.fromkeys(PACKAGES + include)))


def build(node: Node, name: str, wanted: Recipe, progress: Progress, *, fresh: bool = True) -> None:
    """Make or replace the distro ``name``; until it is whole, the old one stays.

    With ``fresh`` the packages are fetched anew, else a recent pack of the same recipe will do.
    Raises PreparationError when the build fails: then nothing has changed.
    """
    _check_name(name)
    storage = driver(node)
    directory = node.paths.distros
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    collect_old(node, storage)
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
        put_in_place(unfinished, directory / name)
    except BaseException:
        storage.delete_tree(unfinished)
        raise
    collect_old(node, storage)


def put_in_place(unfinished: Path, target: Path) -> None:
    """Give a finished tree its name in one step; the old tree goes aside under a dot name."""
    if not target.exists():
        unfinished.rename(target)
        return
    exchange(unfinished, target)
    unfinished.rename(target.with_name(f".{target.name}.old-{time.time_ns()}"))


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


def finish(tree: Path) -> None:
    """Make a fresh Debian tree a distro: mount points, no devices, no set-uid, no secrets."""
    for place in _PLACES:
        path = tree / place
        # Debian links var/run and the like; the places we mount on are real directories.
        if path.is_symlink():
            path.unlink()
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    for name in _FILES:
        (tree / "etc" / name).unlink(missing_ok=True)
        (tree / "etc" / name).write_text("")
    # The host's sources and proxy may hold a password; customers read this tree.
    for name in ("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/auth.conf"):
        (tree / name).unlink(missing_ok=True)
    for path in (tree / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    _trust_what_the_host_trusts(tree)
    (tree / BUILD_ID).write_text(f"{time.time_ns()}\n")
    for directory, _, files in os.walk(tree):
        for name in files:
            _disarm(os.path.join(directory, name))


def _disarm(path: str) -> None:
    found = os.lstat(path)
    if stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode):
        os.unlink(path)
    elif stat.S_ISREG(found.st_mode) and found.st_mode & 0o6000:
        os.chmod(path, stat.S_IMODE(found.st_mode) & 0o777)


def _trust_what_the_host_trusts(tree: Path) -> None:
    # A company's own CA in front of the package index: pip and curl inside must know it, too.
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    inside = tree / bundle.relative_to("/")
    if bundle.is_file() and inside.parent.is_dir():
        inside.write_bytes(bundle.read_bytes())


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
    _check_name(name)
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


class UnknownDistro(PreparationError):
    """No such distro."""

    exit_code = 4


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


def _check_name(name: str) -> None:
    if not names.is_token(name) or name.startswith("."):
        raise InvalidValue(f"{name!r} is not a distro's name", "use letters, digits, '-' and '_'")
