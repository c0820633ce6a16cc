"""A small disk of the tests' own, to be filled, closed and given back; and a whole node on it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from insula.emperor import down, settings
from insula.emperor.kernel import mounts
from insula.emperor.progress import Progress
from insula.emperor.settings import NodeSettings, Paths
from insula.vassals.errors import InsulaError
from tests.system.conftest import LANE, Node, bin_up

PLACE = Path(f"/tmp/insula-disk-{LANE}")
IMAGE = PLACE.with_suffix(".img")
ROOT = PLACE / "node"
DISK_BYTES, POOL_BYTES, INODES = 5 << 30, 3 << 29, 60_000
PORTS = (18180 + LANE, 18543 + LANE, 12322 + LANE)
BASE_DOMAIN = "disk.test"
OPTIONS = (
    f"--http-port={PORTS[0]}", f"--https-port={PORTS[1]}", f"--ssh-port={PORTS[2]}",
    f"--network=10.{240 + LANE}.0.0/16", f"--base-domain={BASE_DOMAIN}", "--json",
)  # fmt: skip


class DiskNode(Node):
    """The node on the small disk, which listens on ports of its own."""

    @property
    def http_port(self) -> int:
        return PORTS[0]

    @property
    def ssh_port(self) -> int:
        return PORTS[2]


def up(*words: str) -> subprocess.CompletedProcess[str]:
    return bin_up(*OPTIONS, "--minimal", *words, root=ROOT)


def make() -> None:
    """Mount a fresh disk; a pool of it is small enough to be reserved."""
    remove()
    with IMAGE.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(INODES), IMAGE], check=True)
    PLACE.mkdir()
    subprocess.run(["mount", "-o", "loop", IMAGE, PLACE], check=True)
    (ROOT / "etc/insula").mkdir(parents=True)
    (ROOT / "etc/insula/node.toml").write_text(f"pool_bytes = {POOL_BYTES}\n")


def remove() -> None:
    """Take the node down and the disk away, whatever a killed run has left of them."""
    # By the tests' own code: what lies on the disk may be broken, or no longer mounted.
    with contextlib.suppress(InsulaError):
        down.down(settings.Node(Paths(ROOT), NodeSettings()), Progress(time.time()))
    # The latest mount first; only what lies below this very place.
    for path in sorted((p for p in mounts.points() if p.is_relative_to(PLACE)), reverse=True):
        with contextlib.suppress(Exception):
            mounts.unmount(path, lazy=True)
    if PLACE.is_dir() and not PLACE.is_mount():
        PLACE.rmdir()
    IMAGE.unlink(missing_ok=True)


@contextmanager
def full(place: Path) -> Iterator[None]:
    """No byte is left on the file system of ``place`` while the block runs."""
    ballast = [place / ".ballast-large", place / ".ballast-small"]
    try:
        state = os.statvfs(place)
        free = max(4096, state.f_bavail * state.f_frsize - 4096)
        # btrfs promises more than it can reserve; what this leaves is filled below.
        words = ["fallocate", "--length", str(free), str(ballast[0])]
        subprocess.run(words, check=False, stderr=subprocess.DEVNULL)
        # To the last byte, what is kept for root included.
        with contextlib.suppress(OSError), ballast[1].open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with contextlib.suppress(OSError), ballast[1].open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        yield
    finally:
        for path in ballast:
            path.unlink(missing_ok=True)


@contextmanager
def without_inodes(place: Path) -> Iterator[None]:
    """No file can be made on the file system of ``place`` while the block runs."""
    crowd = place / ".ballast"
    crowd.mkdir()
    try:
        with contextlib.suppress(OSError):
            for number in range(1 << 20):
                os.close(os.open(crowd / str(number), os.O_WRONLY | os.O_CREAT))
        yield
    finally:
        subprocess.run(["rm", "-rf", crowd], check=True)


@contextmanager
def read_only(*places: Path) -> Iterator[None]:
    """Everything below the places is read-only for whoever comes by their paths; mounts in them
    stay as they are."""
    made: list[Path] = []
    try:
        for place in places:
            subprocess.run(["mount", "--rbind", place, place], check=True)
            made.append(place)
            subprocess.run(["mount", "--make-rprivate", place], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        yield
    finally:
        for place in made:
            subprocess.run(["umount", "--recursive", "--lazy", place], check=True)
