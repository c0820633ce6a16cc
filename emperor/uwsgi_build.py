"""Builds the node's uWSGI: the PyPI source release, our profile, plugin and patches; cached."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from insula.emperor.errors import PreparationError
from insula.emperor.settings import Paths

VERSION = "2.0.31"
SOURCE_SHA256 = "e8f8b350ccc106ff93a65247b9136f529c14bf96b936ac5b264c6ff9d0c76257"
RECIPE = Path(__file__).parent / "uwsgi"
# Beside the node's own directory: a second node on the machine does not build again.
CACHE = Path("/var/cache/insula/uwsgi")
# What `uwsgi --cflags` must name; a missing -dev package would leave a feature out silently.
REQUIRED_FLAGS = ("-DUWSGI_SSL", "-DUWSGI_PCRE2", "-DUWSGI_ROUTING", "-DUWSGI_CAP")

Progress = Callable[[str], None]


def key() -> str:
    """Names one build: version, profile, plugin, patches and the C library's release."""
    digest = sha256(SOURCE_SHA256.encode())
    digest.update((os.confstr("CS_GNU_LIBC_VERSION") or "").encode())
    for path in sorted(RECIPE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(RECIPE)).encode() + path.read_bytes())
    return f"{VERSION}-{digest.hexdigest()[:12]}"


def build(paths: Paths, progress: Progress) -> Path:
    """Make ``paths.uwsgi`` a link to the directory with the binary; return the binary's path.

    Takes it from the cache when this recipe was built before on this machine. Raises
    PreparationError when the source is not the pinned one, a tool or library is missing, or
    routing, TLS or capabilities are off in the result.
    """
    name = f"uwsgi-{key()}"
    target = paths.lib / name
    if not (target / "uwsgi").exists():
        cached = CACHE / name / "uwsgi"
        if not cached.exists():
            _compile_into(cached, progress)
        paths.lib.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{name}.{os.getpid()}")
        unfinished.mkdir()
        shutil.copy2(cached, unfinished / "uwsgi")
        unfinished.rename(target)
    link = paths.uwsgi
    if not link.is_symlink() or os.readlink(link) != name:
        temporary = link.with_name(f".uwsgi.{os.getpid()}")
        temporary.symlink_to(name)
        temporary.rename(link)
    return target / "uwsgi"


def _compile_into(cached: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="insula-uwsgi-") as name:
        work = Path(name)
        progress(f"fetching the uWSGI {VERSION} source release")
        source = _unpack(_fetch(work), work)
        _apply(source)
        progress("compiling uWSGI (about 20 s on two cores)")
        _run(
            [sys.executable, "uwsgiconfig.py", "--build", str(source / "insula-profile.ini")],
            source,
        )
        binary = source / "uwsgi"
        _verify(binary)
        subprocess.run(["strip", str(binary)], check=False)
        cached.parent.mkdir(parents=True, exist_ok=True)
        unfinished = cached.with_name(f".uwsgi.{os.getpid()}")
        shutil.copy2(binary, unfinished)
        unfinished.rename(cached)


def _fetch(work: Path) -> Path:
    requirements = work / "requirements.txt"
    requirements.write_text(f"uwsgi=={VERSION} --hash=sha256:{SOURCE_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    _run([*pip, "--require-hashes", f"--requirement={requirements}", f"--dest={work}"], work)
    found = sorted(work.glob("*.tar.gz"))
    if len(found) != 1 or sha256(found[0].read_bytes()).hexdigest() != SOURCE_SHA256:
        raise PreparationError(f"the uWSGI {VERSION} source release is not the pinned one")
    return found[0]


def _unpack(archive: Path, work: Path) -> Path:
    with tarfile.open(archive) as tar:
        # Python 3.11.2 (Debian 12) has no filter argument; later ones read this attribute.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(work)
    return next(path for path in work.iterdir() if path.is_dir() and (path / "uwsgi.h").exists())


def _apply(source: Path) -> None:
    shutil.copytree(RECIPE / "insula", source / "plugins/insula")
    shutil.copy(RECIPE / "profile.ini", source / "insula-profile.ini")
    for patch in sorted((RECIPE / "patches").glob("*.patch")):
        _run(["patch", "--strip=1", "--fuzz=0", f"--input={patch}"], source)


def _verify(binary: Path) -> None:
    flags = _run([str(binary), "--cflags"], binary.parent).split()
    missing = [flag for flag in REQUIRED_FLAGS if flag not in flags]
    if missing:
        raise PreparationError(
            f"uWSGI was built without {', '.join(missing)}",
            "apt-get install libpcre2-dev libssl-dev libcap-dev, then run bin/up again",
        )


def _run(argv: list[str], cwd: Path) -> str:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PreparationError(f"{argv[0]} is missing", f"apt-get install {argv[0]}") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise PreparationError(f"{' '.join(argv)}: exit status {done.returncode}\n{tail}")
    return done.stdout
