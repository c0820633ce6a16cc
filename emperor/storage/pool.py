"""The pool's file system: the machine's own btrfs, or an image with one, loop-mounted."""

import os
import time
from pathlib import Path

from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import StorageError
from insula.emperor.kernel import mounts
from insula.emperor.settings import Paths
from insula.emperor.storage import image
from insula.emperor.storage.image import run

# umount(8) ends when all that was written to the pool is on the disk: minutes on a busy one.
UNMOUNT_SECONDS = 600.0
# How long the kernel may take to let go of an unmounted pool.
HELD_SECONDS = 10.0


def mount(paths: Paths, pool_bytes: int) -> None:
    """Have a btrfs at ``paths.pool``; mounted already is fine. Raises StorageError."""
    paths.pool.mkdir(mode=0o711, parents=True, exist_ok=True)
    if file_system_of(paths.pool) != "btrfs":
        _mount_image(paths, pool_bytes)
    # From now on an empty pool is a lost one.
    write_atomic(paths.pool_marker, b"this node has had a pool\n", lasting=True)


def _mount_image(paths: Paths, pool_bytes: int) -> None:
    if not paths.pool_image.exists():
        _refuse_to_replace(paths)
        image.make(paths, pool_bytes)
    # A reserved image keeps what is deleted in it, a sparse one gives it back to the disk.
    discard = "nodiscard" if image.reserve(paths.pool_image) else "discard=async"
    # No container needs a set-uid file or a device, and none may bring one into the host's view.
    run(
        [
            "mount",
            "-t",
            "btrfs",
            "-o",
            f"loop,noatime,nosuid,nodev,{discard}",
            str(paths.pool_image),
            str(paths.pool),
        ],
        f"mounting {paths.pool_image}",
        "the kernel needs btrfs and a loop device (modprobe btrfs loop); "
        'without them set storage = "dir" (no disk limits); an image that is damaged or too short '
        "is restored from your backup, or saved with `btrfs restore`",
    )


def _refuse_to_replace(paths: Paths) -> None:
    """An empty pool in place of a lost one would look like a node without any container."""
    if paths.pool_marker.exists():
        raise StorageError(
            f"{paths.pool_image} is missing, and this node has had a pool: nothing was made",
            f"put the image back, or mount the file system that was at {paths.pool}; "
            f"to begin again without the customers' data: `insula node down --purge`, then bin/up",
        )


def unmount(paths: Paths) -> None:
    """Unmount the pool if it is a mount of its own; its loop device goes with it.

    Somebody's own mount namespace may hold the device for longer: then it goes when that ends.
    """
    if paths.pool in mounts.points():
        run(
            ["umount", str(paths.pool)],
            f"unmounting {paths.pool}",
            "a process still works in it: stop the containers first",
            seconds=UNMOUNT_SECONDS,
        )
    # The last process of a mount namespace may be gone before the kernel has let go of its mounts.
    deadline = time.monotonic() + HELD_SECONDS
    while loop_of(paths.pool_image) and time.monotonic() < deadline:
        time.sleep(0.02)


def loop_of(image_path: Path) -> Path | None:
    """The loop device that shows an image, None when there is none."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            shown = backing.read_text().rstrip("\n")
        except OSError:
            continue  # it was just taken down
        if shown == str(image_path):
            return Path("/dev") / backing.parents[1].name
    return None


def is_readonly(paths: Paths) -> bool:
    """True when the kernel has closed the pool against writing, as it does after a failed write."""
    return bool(os.statvfs(paths.pool).f_flag & os.ST_RDONLY)


def file_system_of(path: Path) -> str:
    """The type of the file system on which ``path`` lies."""
    points = mounts.points()
    return points[next(item for item in (path, *path.parents) if item in points)]
