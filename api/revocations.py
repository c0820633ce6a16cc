"""Tokens that were revoked, noted beside the copies of the database: an older copy has them still.

One SHA-256 a line; lines are added and never taken away.
"""

import os
import re
from pathlib import Path

from insula.api import backups

NAME = "revoked-tokens"
_HASH = re.compile(r"[0-9a-f]{64}")


def note(sha256: str) -> None:
    """Have the hash on the disk before the token is deleted. Raises OSError."""
    if not backups.is_wanted():
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(_file(), flags, 0o600)
    try:
        # It begins with a line's end: what a full disk has cut before must not swallow it.
        line = f"\n{sha256}\n".encode()
        if os.write(fd, line) != len(line):
            raise OSError(f"{_file()}: the disk is full")
        os.fsync(fd)
    finally:
        os.close(fd)
    directory = os.open(backups.place(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def noted() -> frozenset[str]:
    """The hashes of all tokens that were ever revoked here. Raises OSError."""
    if not backups.is_wanted():
        return frozenset()
    try:
        text = _file().read_text(errors="replace")
    except FileNotFoundError:
        return frozenset()
    return frozenset(line for line in text.splitlines() if _HASH.fullmatch(line))


def _file() -> Path:
    return backups.place() / NAME
