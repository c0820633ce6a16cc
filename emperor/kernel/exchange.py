"""Swaps two names of one directory in a single step."""

import os
from pathlib import Path

from insula.emperor.kernel import libc

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def exchange(one: Path, other: Path) -> None:
    """Swap two existing names: at no moment is either missing. Raises KernelError."""
    libc.call(
        "renameat2",
        AT_FDCWD,
        os.fsencode(one),
        AT_FDCWD,
        os.fsencode(other),
        RENAME_EXCHANGE,
        about=f"swapping {one} and {other}",
    )
