"""Calls of the C library that Python 3.11 does not wrap, each failing with a KernelError."""

import ctypes
import os

from insula.emperor.errors import KernelError

CLONE_NEWNET = 0x40000000

_LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int | bytes | None, about: str) -> int:
    """Call a function that answers -1 on failure; ``about`` says what was being done.

    Raises KernelError with the system's reason, its ``errno`` as ``__cause__``.
    """
    values = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    answer = int(getattr(_LIBC, name)(*values))
    if answer == -1:
        cause = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        raise KernelError(f"{about}: {cause.strerror}") from cause
    return answer
