"""Connects to a socket in a directory that another uid can write: to one there, or not at all."""

import os
import socket
import stat
from errno import ENOTSOCK
from pathlib import Path


def connect(connection: socket.socket, path: Path) -> None:
    """Connect to the UNIX socket at ``path``; a link in its place leads nowhere.

    The directory's own path is root's. Raises OSError as socket.connect does.
    """
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        held = os.open(path.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        if not stat.S_ISSOCK(os.fstat(held).st_mode):
            raise OSError(ENOTSOCK, os.strerror(ENOTSOCK), str(path))
        # By what is held: the name may be another thing by now. Nor is a long path too long.
        connection.connect(f"/proc/self/fd/{held}")
    finally:
        os.close(held)
