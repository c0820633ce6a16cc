"""The image of a pool: reserved on the disk where there is room, else sparse.

A write into a hole of the image that the disk cannot back aborts btrfs: from then on every home is
read-only until the node is started again. A reserved image never meets that, however full the disk
gets; a sparse one does, and the doctor says so.
"""

import os
import shutil
import subprocess
from pathlib import Path

from insula.emperor.errors import StorageError
from insula.emperor.settings import Paths
from insula.emperor.storage import layout

MINIMUM_BYTES = 256 * 1024 * 1024
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def make(paths: Paths, pool_bytes: int) -> None:
    """Make the image with an empty btrfs, whole or not at all. Raises StorageError."""
    free = layout.check_free(paths.lib, MINIMUM_BYTES)
    # Never more than the disk has: what could not be backed would only look like room.
    size = min(pool_bytes, max(MINIMUM_BYTES, free * 9 // 10))
    building = paths.pool_image.with_name(f".{paths.pool_image.name}")
    building.unlink(missing_ok=True)
    try:
        fd = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.truncate(size)
        reserve(building)
        # -K: discarding would give the reserved blocks back.
        run(
            ["mkfs.btrfs", "-q", "-K", str(building)],
            f"making a btrfs in {building}",
            "apt install btrfs-progs",
        )
        os.rename(building, paths.pool_image)
    except BaseException:
        building.unlink(missing_ok=True)
        raise


def reserve(image: Path) -> bool:
    """Back the holes of an image, also of one in use, when that leaves half of the free disk.

    False when it stays sparse: too little room, or a file system that cannot reserve.
    """
    holes = unbacked_bytes(image)
    if holes == 0:
        return True
    state = os.statvfs(image.parent)
    if holes > state.f_bavail * state.f_frsize // 2:
        return False
    # Not posix_fallocate(3): where the file system cannot, that writes zeros, also over data.
    program = shutil.which("fallocate", path=_PATH)
    if program is None:
        return False
    words = [program, "--length", str(image.stat().st_size), str(image)]
    return subprocess.run(words, capture_output=True, check=False, timeout=120).returncode == 0


def unbacked_bytes(image: Path) -> int:
    """How much of an image the disk still has to find; 0 when it is reserved."""
    found = image.stat()
    missing = found.st_size - found.st_blocks * 512
    # A file system's own blocks of the file count in, so a few may seem missing or too many.
    return missing if missing > 1024 * 1024 else 0


def run(arguments: list[str], about: str, hint: str, *, seconds: float = 120) -> str:
    """Run one of the machine's programs, for so long at most. Raises StorageError."""
    program = shutil.which(arguments[0], path=_PATH)
    if program is None:
        raise StorageError(f"{about}: {arguments[0]} is not installed", hint)
    try:
        done = subprocess.run(
            [program, *arguments[1:]], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StorageError(
            f"{about}: not done within {seconds:.0f} s", "the disk is slow: wait, then try again"
        ) from error
    if done.returncode != 0:
        raise StorageError(f"{about}: {done.stderr.strip()[:300]}", hint)
    return done.stdout
