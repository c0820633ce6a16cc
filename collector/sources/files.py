"""Reads the kernel's small files; what is not there is no figure, not an error."""

import os

CHUNK_BYTES = 65536


def text(path: str) -> str:
    """The whole file, empty when it cannot be read: containers come and go under a round."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        # The kernel writes these files anew for each read: small ones come whole, at once.
        data = chunk = os.read(fd, CHUNK_BYTES)
        while len(chunk) == CHUNK_BYTES:
            chunk = os.read(fd, CHUNK_BYTES)
            data += chunk
    except OSError:
        return ""
    finally:
        os.close(fd)
    return data.decode("ascii", "replace")


def number(path: str) -> int | None:
    """The one number that the file holds; None for ``max`` and for no file."""
    found = text(path).strip()
    return int(found) if found.isdecimal() else None


def field(content: str, name: str) -> int | None:
    """The number behind ``name `` at the start of a line (``cpu.stat``, ``memory.stat``)."""
    start = 0 if content.startswith(f"{name} ") else content.find(f"\n{name} ") + 1
    if start == 0 and not content.startswith(f"{name} "):
        return None
    word = content[start + len(name) + 1 :].split("\n", 1)[0].strip()
    return int(word) if word.isdecimal() else None
