"""Makes a distro of a stranger's root file system: a packed tree, or an image's archive.

Root reads none of it itself: unpacking.py does, behind a changed root and in namespaces of its own.
"""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from insula.emperor.distros import architectures, builds, grounding, imaging, making, store
from insula.emperor.distros.building import refuse_open_upgrade
from insula.emperor.distros.builds import Build, Facts
from insula.emperor.distros.tree import HOST_CERTIFICATES
from insula.emperor.errors import PreparationError
from insula.emperor.kernel.beneath import read_in_root
from insula.emperor.settings import Node
from insula.emperor.storage import driver, layout
from insula.vassals.errors import InvalidValue

DEFAULT_MAXIMUM_BYTES = 8 << 30
MAXIMUM_ENTRIES = 1_000_000
# What an import leaves free on the pool for the containers' own data.
_LEFT_FREE_BYTES = 256 << 20
_SECONDS = 3600
_NOBODY = "65534"
_FORMATS = (
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)
# Programs without which something that a container's owner expects does not work.
_EXPECTED = (
    ("usr/bin/uwsgi", "no vassal can run: sites and workers do not start"),
    ("bin/bash", "no shell over ssh, for bash is every account's"),
    ("usr/bin/tail", "`insula logs` cannot read the container's log"),
)
_NEEDED = "bin/sh"
# Each is started so that it ends when we do, and has no network.
ALONE = (
    "setpriv", "--pdeathsig=KILL", "--",
    "unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child",
    "--propagation=private", "--",
)  # fmt: skip

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """A new build, and what its operator should know about it."""

    build: Build
    warnings: tuple[str, ...]


def import_(
    node: Node, name: str, archive: str, progress: Progress, *,
    maximum_bytes: int = DEFAULT_MAXIMUM_BYTES, without_uwsgi: bool = False,
) -> Imported:  # fmt: skip
    """Make or renew the distro ``name`` from a packed tree or an image's archive; '-' is stdin.

    Raises InsulaError when it cannot be taken: then nothing has changed.
    """
    store.check_name(name)
    with opened(archive) as source, builds.changing(node.paths):
        refuse_open_upgrade(node, name)
        made = new_build(
            node, name, source, progress, maximum_bytes=maximum_bytes, without_uwsgi=without_uwsgi
        )
        builds.make_current(node.paths, made.build)
        making.sweep(node, driver(node))
    grounding.tell(node, made=name)
    return made


def new_build(
    node: Node, name: str, source: IO[bytes], progress: Progress, *,
    maximum_bytes: int = DEFAULT_MAXIMUM_BYTES, without_uwsgi: bool = False,
) -> Imported:  # fmt: skip
    """A new build that nothing stands on yet; the caller holds ``builds.changing``."""
    warnings: list[str] = []

    def fill(tree: Path, number: int) -> None:
        room = min(maximum_bytes, _room(node))
        with imaging.tree_of(node, source, room, progress) as (stream, kind):
            progress("unpacking")
            warnings.extend(_unpack(stream, kind, tree, number, room))
        warnings.extend(_looked_at(tree, without_uwsgi=without_uwsgi))

    build = making.make(node, name, Facts(origin="imported"), fill)
    return Imported(build, tuple(warnings))


@contextlib.contextmanager
def opened(archive: str) -> Iterator[IO[bytes]]:
    """The archive's bytes. Raises InvalidValue for what is no regular file."""
    if archive == "-":
        if sys.stdin.isatty():
            raise InvalidValue(
                "- is a terminal", "give a file, or: … | insula distro import NAME -"
            )
        yield sys.stdin.buffer
        return
    try:
        fd = os.open(archive, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidValue(f"{archive}: {error.strerror}", "give a .tar file") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidValue(
            f"{archive} is not a regular file",
            f"of a directory make an archive first: tar -C {archive} -cf tree.tar .",
        )
    with os.fdopen(fd, "rb") as file:
        yield file


def compression_of(head: bytes) -> str:
    """What an archive is compressed with, by its first bytes; ``none`` for a plain tar.

    Raises InvalidValue for what is no archive.
    """
    for magic, name in _FORMATS:
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return "none"
    raise InvalidValue(
        "this is neither a tar archive nor one compressed by gzip, bzip2, xz or zstd",
        "make one: tar -C DIRECTORY -cf tree.tar .",
    )


def _room(node: Node) -> int:
    state = os.statvfs(node.paths.distros)
    free = state.f_bavail * state.f_frsize - _LEFT_FREE_BYTES
    if free <= 0:
        layout.check_free(node.paths.distros, _LEFT_FREE_BYTES)
    return max(free, 0)


def _unpack(stream: IO[bytes], compression: str, tree: Path, number: int, room: int) -> list[str]:
    certificates = str(HOST_CERTIFICATES) if HOST_CERTIFICATES.is_file() else ""
    argv = [
        *ALONE, sys.executable, "-I", "-m", "insula.emperor.distros.unpacking", str(tree),
        str(number), "none" if compression == "zst" else compression, str(room),
        str(MAXIMUM_ENTRIES), certificates,
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(_decompressed(stream)) if compression == "zst" else stream
        try:
            done = subprocess.run(
                argv, stdin=plain, capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PreparationError(f"no end after {_SECONDS} s", "is the archive whole?") from error
    return _answer(done)


def _answer(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    try:
        said = json.loads(done.stdout.decode().splitlines()[-1])
    except (ValueError, IndexError) as error:
        tail = done.stderr.decode(errors="replace").strip()[-400:]
        raise PreparationError(f"the archive was not unpacked: {tail}", "is it whole?") from error
    if "error" in said:
        raise InvalidValue(f"the archive is not taken: {said['error']}", "nothing was changed")
    left_out = [f"{said[kind]} {kind}" for kind in ("devices", "pipes", "others") if said.get(kind)]
    return [f"left out: {', '.join(left_out)}"] if left_out else []


@contextlib.contextmanager
def _decompressed(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    program = shutil.which("zstd", path="/usr/bin:/bin")
    if program is None:
        raise PreparationError("zstd is not installed", "apt-get install zstd")
    argv = [
        "setpriv", "--pdeathsig=KILL", f"--reuid={_NOBODY}", f"--regid={_NOBODY}",
        "--clear-groups", "--no-new-privs", "--", program, "-dcq", "--memory=1024MB",
    ]  # fmt: skip
    process = subprocess.Popen(
        argv, stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.stdout.close()
        process.kill()
        process.wait()


def _looked_at(tree: Path, *, without_uwsgi: bool) -> list[str]:
    """What a finished tree lacks. Raises InvalidValue when no container could stand on it."""
    if read_in_root(tree, _NEEDED, 1) is None:
        raise InvalidValue(
            "the archive holds no /bin/sh: it is no root file system",
            "give the archive of a whole tree, its top being the root",
        )
    found = making.architecture_of(tree)
    if found:
        architectures.require(found)
    warnings = [
        f"it has no /{program}: {without}"
        for program, without in _EXPECTED
        if read_in_root(tree, program, 1) is None
    ]
    if read_in_root(tree, _EXPECTED[0][0], 1) is None and not without_uwsgi:
        raise InvalidValue(
            "the archive holds no /usr/bin/uwsgi: no vassal could run on it",
            "install Debian's uwsgi-core and plug-ins in it, or give --without-uwsgi",
        )
    return warnings
