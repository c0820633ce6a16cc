"""Container images: an archive of one becomes a tar stream of its tree, by skopeo and umoci.

Both run without any right, without network, on a file system of their own that is as large as the
import may be and is gone with the last process that uses it.

usage: python -I -m insula.emperor.distros.imaging WORK FORMAT, the archive as standard input
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from insula.emperor.errors import KernelError, PreparationError
from insula.emperor.kernel import privileges
from insula.emperor.kernel.beneath import open_beneath
from insula.emperor.settings import Node
from insula.vassals.errors import InvalidValue

NOBODY = 65534
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 1800
_HEAD_BYTES = 262
# An archive, its layers unpacked once, and a margin.
_SCRATCH_FACTOR = 3
# An image has few entries at its top and some hundred blobs; a tree has thousands.
_MOST_ENTRIES = 5000
_FAILED = 3

Progress = Callable[[str], None]


@contextlib.contextmanager
def tree_of(
    node: Node, source: IO[bytes], room: int, progress: Progress
) -> Iterator[tuple[IO[bytes], str]]:
    """The tree's tar stream and its compression; an image's archive is turned into one first."""
    from insula.emperor.distros.importing import compression_of

    with _seekable(source, node, room) as file:
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        compression = compression_of(head)
        kind = format_of(file) if compression == "none" else ""
        file.seek(0)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        if not kind:
            yield file, compression
            return
        progress(f"taking the image apart ({kind})")
        with _flattened(node, file, kind, room) as stream:
            yield stream, "none"


@contextlib.contextmanager
def _seekable(source: IO[bytes], node: Node, room: int) -> Iterator[IO[bytes]]:
    """The source itself, or what came through a pipe, kept in a file without a name."""
    if source.seekable():
        yield source
        return
    with tempfile.TemporaryFile(dir=node.paths.lib) as kept:
        size = 0
        while data := source.read(1 << 20):
            size += len(data)
            if size > room:
                raise InvalidValue(f"the archive is larger than {room >> 20} MiB", "--max-size")
            kept.write(data)
        kept.seek(0)
        yield kept


def format_of(file: IO[bytes]) -> str:
    """``oci-archive`` or ``docker-archive`` when a plain tar holds an image, else empty.

    Root looks at the fixed part of each header alone: what follows it is never read here.
    """
    names: set[str] = set()
    for _ in range(_MOST_ENTRIES):
        block = file.read(tarfile.BLOCKSIZE)
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            break  # the end, or no tar: unpacking it says which
        name = member.name.removeprefix("./").rstrip("/")
        if name in ("etc", "usr", "bin") or not 0 <= member.size < 1 << 50:
            return ""
        if "/" not in name:
            names.add(name)
        file.seek(-(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, os.SEEK_CUR)
    if {"oci-layout", "index.json"} <= names:
        return "oci-archive"
    return "docker-archive" if "manifest.json" in names else ""


@contextlib.contextmanager
def _flattened(node: Node, file: IO[bytes], kind: str, room: int) -> Iterator[IO[bytes]]:
    from insula.emperor.distros.importing import ALONE

    missing = [name for name in ("skopeo", "umoci") if shutil.which(name, path=_PATH) is None]
    if missing:
        raise PreparationError(
            f"the archive is an image, and {' and '.join(missing)} is not installed",
            "apt-get install skopeo umoci",
        )
    with tempfile.TemporaryDirectory(prefix="insula-image-", dir=node.paths.lib) as work:
        argv = [
            *ALONE, sys.executable, "-I", "-m", "insula.emperor.distros.imaging",
            work, kind, str(room * _SCRATCH_FACTOR),
        ]  # fmt: skip
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(argv, stdin=file, stdout=subprocess.PIPE, stderr=said)
            assert process.stdout is not None
            try:
                yield process.stdout
            except InvalidValue:
                process.stdout.close()
                # It ended early: what skopeo or umoci said is the better reason.
                if process.wait(timeout=60) == _FAILED:
                    said.seek(0)
                    words = said.read().decode(errors="replace").strip()
                    raise InvalidValue(
                        f"the image is not taken: {words[-600:]}", "nothing was changed"
                    ) from None
                raise
            finally:
                process.stdout.close()
                process.kill()
                process.wait()


def main() -> None:
    """Mount the scratch file system, flatten the image, write the tree to standard output."""
    work, kind, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    # These mounts are ours alone, and here nobody's processes can reach it.
    place = Path("/tmp")
    _mount_scratch(work / "scratch.img", place, size)
    archive, layout, bundle = place / "archive.tar", place / "image", place / "bundle"
    with archive.open("wb") as target:
        shutil.copyfileobj(sys.stdin.buffer, target, 1 << 20)
    archive.chmod(0o644)
    # One image is expected; an archive of several needs a name, which skopeo then says.
    _as_nobody(
        ["skopeo", "copy", "--quiet", "--insecure-policy", f"{kind}:{archive}", f"oci:{layout}:it"],
        place,
    )
    archive.unlink()
    _as_nobody(["umoci", "unpack", "--rootless", "--image", f"{layout}:it", str(bundle)], place)
    sys.exit(_FAILED if _pack(place, "bundle/rootfs") else 0)


def _pack(place: Path, tree: str) -> int:
    """Write the tree below ``place`` to standard output; returns tar's exit status.

    As root, since an image may hold files that nobody may read. The way there was made by nobody's
    programs from a stranger's image: a link in it would have root pack the machine's own files.
    """
    top = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inside = open_beneath(top, tree, os.O_RDONLY | os.O_DIRECTORY)
    except KernelError as error:
        print(f"{tree} is no directory: {error}", file=sys.stderr)
        return 1
    finally:
        os.close(top)
    try:
        # tar(1) itself follows no link.
        done = subprocess.run(
            ["tar", "--create", "--sparse", "--format=gnu", "."],
            stdin=subprocess.DEVNULL, preexec_fn=lambda: os.fchdir(inside), check=False,
        )  # fmt: skip
    finally:
        os.close(inside)
    return done.returncode


def _mount_scratch(image: Path, place: Path, size: int) -> None:
    with image.open("wb") as file:
        file.truncate(max(size, 64 << 20))
    above = os.open(image.parent, os.O_PATH | os.O_DIRECTORY)
    for argv in (
        ["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(image)],
        ["mount", "-o", "loop,nosuid,nodev,noexec", str(image), str(place)],
    ):
        if subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode:
            sys.exit(_FAILED)
    # Its blocks go with the last mount, and that with the last process of this namespace.
    os.unlink(image.name, dir_fd=above)
    os.chown(place, NOBODY, NOBODY)


def _as_nobody(argv: list[str], place: Path) -> None:
    environ = {"PATH": _PATH, "HOME": str(place), "TMPDIR": str(place), "LANG": "C.UTF-8"}
    done = subprocess.run(
        argv, env=environ, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: privileges.become(NOBODY), timeout=_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(_FAILED)


if __name__ == "__main__":
    main()
