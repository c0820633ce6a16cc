"""Unpacks a stranger's root file system behind a changed root: none of its names leads out.

usage: python -I -m insula.emperor.distros.unpacking TREE NUMBER COMPRESSION BYTES ENTRIES CA-FILE
with the archive as standard input, in namespaces of its own (importing.py starts it so). Prints one
JSON object: what was unpacked and left out, or an error.

Everything becomes root's. Only directories, files and links are taken; set-uid bits, capabilities
and other extended attributes, owners, devices and pipes are not.
"""

import bz2
import contextlib
import gzip
import json
import lzma
import os
import resource
import stat
import struct
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.machinery import BuiltinImporter, FrozenImporter
from pathlib import Path
from typing import IO

from insula.emperor.distros.tree import finish
from insula.emperor.kernel import libc

_CHUNK = 1 << 20
_DEPTH = 128
_NAME_BYTES, _PATH_BYTES = 255, 4000
# What unpacking may take, a decompressor's dictionary included.
_MEMORY_BYTES = 1 << 30
_CAP_DAC_OVERRIDE, _CAP_FOWNER = 1 << 1, 1 << 3
_CAPABILITY_VERSION = 0x20080522
_LATEST = 2**33
_DESCRIPTION_BYTES = 1 << 20
_DESCRIPTIONS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class Refused(Exception):
    """The archive is not taken; the text says why."""


@dataclass
class Unpacked:
    """What came of an archive."""

    files: int = 0
    size_bytes: int = 0
    devices: int = 0
    pipes: int = 0
    others: int = 0


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold."""

    size_bytes: int
    entries: int


class _Header(tarfile.TarInfo):
    """A member whose own description is read only when its size is one that tar makes."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _DESCRIPTIONS and not 0 <= self.size <= _DESCRIPTION_BYTES:
            raise Refused("a header of it is larger than any that tar makes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]  # made to be overridden


def unpack(archive: IO[bytes], top: Path, limits: Limits) -> Unpacked:
    """Unpack a tar stream below ``top``, an empty directory. Raises Refused.

    Each member's way is walked by descriptors and no link is followed on it.
    """
    done, count = Unpacked(), 0
    root = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with tarfile.open(fileobj=archive, mode="r|", tarinfo=_Header) as tar:
            while (member := tar.next()) is not None:
                count += 1
                if count > limits.entries:
                    raise Refused(f"it holds more than {limits.entries} entries")
                _take(tar, member, root, done, limits)
                # tarfile keeps every header it has seen
                tar.members = []  # type: ignore[attr-defined]  # no public way to forget them
    except (tarfile.TarError, EOFError, OSError, ValueError, struct.error, lzma.LZMAError) as error:
        raise Refused(f"it cannot be read to its end: {error}") from error
    except (MemoryError, RecursionError, OverflowError) as error:
        raise Refused("a header of it is larger than any that tar makes") from error
    finally:
        os.close(root)
    if count == 0:
        raise Refused("it is empty")
    return done


def _take(
    tar: tarfile.TarFile, member: tarfile.TarInfo, root: int, done: Unpacked, limits: Limits
) -> None:
    parts = parts_of(member.name)
    if not parts:
        return
    if parts[-1].startswith(".wh."):
        raise Refused(
            f"{member.name!r} is a whiteout: this is one layer of an image, not a whole tree"
        )
    if member.ischr() or member.isblk():
        done.devices += 1
    elif member.isfifo():
        done.pipes += 1
    elif not (member.isdir() or member.issym() or member.islnk() or member.isfile()):
        done.others += 1
    else:
        with _parent_of(root, parts) as parent:
            _put(tar, member, root, parent, parts[-1], done, limits)


def parts_of(name: str) -> list[str]:
    """The steps of a member's path from the top. Raises Refused for one that leads out."""
    if len(os.fsencode(name)) > _PATH_BYTES or "\0" in name:
        raise Refused(f"{name[:80]!r}… is no path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"{name!r} leads out of the archive")
    if len(parts) > _DEPTH or any(len(os.fsencode(part)) > _NAME_BYTES for part in parts):
        raise Refused(f"{name[:80]!r}… is too deep or too long")
    return parts


@contextlib.contextmanager
def _parent_of(root: int, parts: list[str]) -> Iterator[int]:
    """The directory of a member by descriptor; missing ones above it are made."""
    fd = os.dup(root)
    try:
        for part in parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=fd)
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                below = os.open(part, flags, dir_fd=fd)
            except OSError as error:
                way = "/".join(parts)
                raise Refused(f"{way!r} goes through {part!r}, which is no directory") from error
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _put(
    tar: tarfile.TarFile, member: tarfile.TarInfo, root: int, parent: int, name: str,
    done: Unpacked, limits: Limits,
) -> None:  # fmt: skip
    if member.isdir():
        _put_directory(member, parent, name)
        return
    # A later member replaces an earlier one of the same name, as tar does.
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise Refused(f"{member.name!r} is a directory and something else")
        os.unlink(name, dir_fd=parent)
    if member.issym():
        if not member.linkname or len(os.fsencode(member.linkname)) > _PATH_BYTES:
            raise Refused(f"{member.name!r} links to no path")
        os.symlink(member.linkname, name, dir_fd=parent)
    elif member.islnk():
        _put_hard_link(member, root, parent, name)
    else:
        _put_file(tar, member, parent, name, done, limits)
    done.files += 1


def _put_directory(member: tarfile.TarInfo, parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise Refused(f"{member.name!r} is a directory and something else") from None
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        os.fchmod(fd, member.mode & 0o1777)
    finally:
        os.close(fd)


def _put_hard_link(member: tarfile.TarInfo, root: int, parent: int, name: str) -> None:
    parts = parts_of(member.linkname)
    if not parts:
        raise Refused(f"{member.name!r} links to no file")
    with _parent_of(root, parts) as above:
        try:
            found = os.stat(parts[-1], dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            raise Refused(
                f"{member.name!r} is a hard link to {member.linkname!r}, which is not there"
            ) from None
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise Refused(f"{member.name!r} is a hard link to something that is no file")
        os.link(
            parts[-1], name, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False
        )  # fmt: skip


def _put_file(
    tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str, done: Unpacked,
    limits: Limits,
) -> None:  # fmt: skip
    if member.size < 0 or done.size_bytes + member.size > limits.size_bytes:
        raise Refused(f"it holds more than {limits.size_bytes >> 20} MiB, holes counted in full")
    source = tar.extractfile(member)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=parent)
    with os.fdopen(fd, "wb", buffering=0) as target:
        left = member.size if source else 0
        while left > 0 and source:
            data = source.read(min(_CHUNK, left))
            if not data:
                raise Refused(f"{member.name!r} is cut off")
            left -= len(data)
            # A hole stays a hole.
            if data.count(0) == len(data):
                target.seek(len(data), os.SEEK_CUR)
            else:
                _write_all(target, data)
        target.truncate(member.size)
        os.fchmod(fd, member.mode & 0o777)
        # Python compares a compiled file's time with its source's.
        at = min(max(int(member.mtime), 0), _LATEST)
        os.utime(fd, (at, at))
    done.size_bytes += member.size


def _write_all(target: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]


def opened(stream: IO[bytes], compression: str) -> IO[bytes]:
    """The tar stream inside a compressed one; ``none`` is taken as it is."""
    if compression == "gz":
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]  # reads as IO does
    if compression == "bz2":
        return bz2.BZ2File(stream)
    if compression == "xz":
        return lzma.LZMAFile(stream)
    return stream


def _lock_in(tree: str, limits: Limits) -> None:
    """Nothing but the tree is left of the file system, and of root only its files' rights."""
    # From here on a module that is not loaded yet would come from the stranger's files.
    sys.meta_path[:] = [item for item in sys.meta_path if item in (BuiltinImporter, FrozenImporter)]
    sys.path.clear()
    os.chroot(tree)
    os.chdir("/")
    kept = _CAP_DAC_OVERRIDE | _CAP_FOWNER
    header, data = (
        struct.pack("Ii", _CAPABILITY_VERSION, 0),
        struct.pack("6I", kept, kept, *[0] * 4),
    )
    libc.call("capset", header, data, about="letting go of root's rights")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.size_bytes, limits.size_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Unpack and finish; the last line of output says how it went."""
    tree, number, compression, size_bytes, entries, certificates = sys.argv[1:]
    limits = Limits(int(size_bytes), int(entries))
    trusted = Path(certificates).read_bytes() if certificates else None
    # Loaded now: later there is nobody to ask for a codec or an error's text.
    for encoding in ("utf-8", "ascii", "latin-1", "idna"):
        "a".encode(encoding)
    stream = opened(sys.stdin.buffer, compression)
    os.umask(0o022)
    try:
        _lock_in(tree, limits)
        done = unpack(stream, Path("/"), limits)
        finish(Path("/"), int(number), certificates=trusted)
        answer: dict[str, object] = asdict(done)
    except Refused as error:
        answer = {"error": str(error)}
    except (OSError, MemoryError) as error:
        answer = {"error": f"unpacking it failed: {error}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
