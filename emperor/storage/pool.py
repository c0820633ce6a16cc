"""The pool's file system: the machine's own btrfs, or a sparse image with one, loop-mounted."""

import os
import shutil
import subprocess
from pathlib import Path

from insula.emperor.errors import StorageError
from insula.emperor.kernel import mounts
from insula.emperor.settings import Paths
from insula.emperor.storage import layout

MINIMUM_BYTES = 256 * 1024 * 1024
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def mount(paths: Paths, pool_bytes: int) -> None:
    """Have a btrfs at ``paths.pool``; mounted already is fine. Raises StorageError."""
    paths.pool.mkdir(mode=0o711, parents=True, exist_ok=True)
    if file_system_of(paths.pool) == "btrfs":
        return
    if not paths.pool_image.exists():
        _make_image(paths, pool_bytes)
    # nosuid: no container needs a set-uid file, and none may bring one into the host's view.
    _run(
        [
            "mount",
            "-t",
            "btrfs",
            "-o",
            "loop,noatime,nosuid",
            str(paths.pool_image),
            str(paths.pool),
        ],
        f"mounting {paths.pool_image}",
        "the kernel needs btrfs and a loop device (modprobe btrfs loop); "
        'without them set storage = "dir" (no disk limits)',
    )


def unmount(paths: Paths) -> None:
    """Unmount the pool if it is a mount of its own; the loop device goes with it."""
    if paths.pool in mounts.points():
        _run(
            ["umount", str(paths.pool)],
            f"unmounting {paths.pool}",
            "a process still works in it: stop the containers first",
        )


def file_system_of(path: Path) -> str:
    """The type of the file system on which ``path`` lies."""
    points = mounts.points()
    return points[next(item for item in (path, *path.parents) if item in points)]


def _make_image(paths: Paths, pool_bytes: int) -> None:
    free = layout.check_free(paths.lib, MINIMUM_BYTES)
    # The image is sparse, but a pool larger than the disk would break when the disk is full.
    size = min(pool_bytes, max(MINIMUM_BYTES, free * 9 // 10))
    building = paths.pool_image.with_name(f".{paths.pool_image.name}")
    building.unlink(missing_ok=True)
    try:
        fd = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.truncate(size)
        _run(
            ["mkfs.btrfs", "-q", str(building)],
            f"making a btrfs in {building}",
            "apt install btrfs-progs",
        )
        os.rename(building, paths.pool_image)
    except BaseException:
        building.unlink(missing_ok=True)
        raise


def _run(arguments: list[str], about: str, hint: str) -> str:
    program = shutil.which(arguments[0], path=_PATH)
    if program is None:
        raise StorageError(f"{about}: {arguments[0]} is not installed", hint)
    done = subprocess.run(
        [program, *arguments[1:]], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise StorageError(f"{about}: {done.stderr.strip()[:300]}", hint)
    return done.stdout


def quota_table(pool: Path) -> str:
    """What ``btrfs qgroup show`` prints: numbers in bytes, with the limits."""
    return _run(
        ["btrfs", "qgroup", "show", "--raw", "-r", str(pool)],
        f"reading the quotas of {pool}",
        "apt install btrfs-progs",
    )
