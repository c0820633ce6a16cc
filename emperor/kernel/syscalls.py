"""The system call filter (seccomp(2)): read from root's own file, put on a process for good."""

import ctypes
import os
import stat
import struct
from pathlib import Path

from insula.emperor.errors import KernelError
from insula.emperor.kernel import libc

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8
_MOST_BYTES = 4096 * _INSTRUCTION_BYTES


def read_filter(path: Path) -> bytes:
    """The filter in a file. Raises KernelError unless it is root's own, and whole."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise KernelError(
            f"{path}: {error.strerror}: there is no system call filter", "run bin/up"
        ) from error
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != 0 or info.st_mode & 0o022:
            raise KernelError(f"{path}: is not root's own file, refusing to believe it")
        program = file.read(_MOST_BYTES + 1)
    if not program or len(program) > _MOST_BYTES or len(program) % _INSTRUCTION_BYTES:
        raise KernelError(f"{path}: is not a system call filter", "run bin/up")
    return program


def apply_filter(program: bytes) -> None:
    """Put the filter on this thread and all that come from it. Raises KernelError.

    It cannot be taken off. The thread has no_new_privs, or the kernel refuses.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count, and where they lie
    descriptor = struct.pack(
        "@HP", len(program) // _INSTRUCTION_BYTES, ctypes.addressof(instructions)
    )
    libc.call(
        "prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, descriptor, 0, 0,
        about="filtering system calls",
    )  # fmt: skip
