"""Where a container's own directories lie on the host: for tests, which play the customer there.

The product gives out no such path: root walks none (emperor/kernel/beneath).
"""

from pathlib import Path

from insula.emperor.settings import Paths


def home(paths: Paths, uid: int) -> Path:
    return paths.containers / str(uid) / "home"


def tmp(paths: Paths, uid: int) -> Path:
    return paths.containers / str(uid) / "tmp"


def sockets(paths: Paths, uid: int) -> Path:
    return paths.containers / str(uid) / "sockets"
