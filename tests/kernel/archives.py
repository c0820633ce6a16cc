"""Archives for import tests: a small tree that passes for a root file system, and hostile ones."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

# What every distro needs; the programs are not run by these tests.
SMALLEST = {
    "bin/sh": b"\x7fELF\x02" + bytes(13) + b"\x3e\x00" + bytes(44),
    "bin/bash": b"#!",
    "usr/bin/uwsgi": b"#!",
    "usr/bin/tail": b"#!",
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": b"root:x:0:\n",
    "etc/os-release": b"ID=tiny\nVERSION_CODENAME=tiny1\n",
}

Change = Callable[[tarfile.TarFile], None]


def archive(
    path: Path, *changes: Change, mode: str = "w", files: dict[str, bytes] = SMALLEST
) -> Path:
    """A tar of the smallest tree; each change adds members of its own."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # a mode that tarfile knows
        for name, data in files.items():
            add(tar, name, data, mode=0o755)
        for change in changes:
            change(tar)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    """Add one member; ``fields`` are a TarInfo's."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in fields.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data) if data else None)


def member(name: str, data: bytes = b"", **fields: object) -> Change:
    """A change that adds one member."""
    return lambda tar: add(tar, name, data, **fields)
