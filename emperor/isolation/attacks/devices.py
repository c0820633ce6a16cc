"""Attacks by devices: made by ourselves, or found."""

import os
import stat
import tempfile
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks.contract import Held, Targets, any_of, attack

# What reaches disks, memory, the kernel's log or other machines. Opening one does nothing; a
# watchdog, a tape or a modem would notice, so nothing is opened by guess.
_POWERFUL = (
    "mem", "kmem", "port", "kmsg", "loop-control", "fuse", "kvm", "vhost-net", "net/tun",
    "mapper/control", "btrfs-control", "nvme0", "uinput", "hpet", "snapshot", "vfio/vfio",
)  # fmt: skip
_MEMORY, _LOG, _ZERO, _LOOP = (1, 1), (1, 11), (1, 5), (7, 0)


@attack
def make_device(_targets: Targets) -> str:
    """The machine's memory, its log, a disk: wherever we may make files."""
    places = (Path(os.environ.get("HOME", "/tmp")), Path("/tmp"), Path("/dev/shm"))
    kinds = ((stat.S_IFCHR, _MEMORY), (stat.S_IFCHR, _LOG), (stat.S_IFBLK, _LOOP),
             (stat.S_IFCHR, _ZERO))  # fmt: skip
    return any_of([partial(_make, place, *kind) for place in places for kind in kinds])


def _make(place: Path, kind: int, number: tuple[int, int]) -> str:
    with tempfile.TemporaryDirectory(dir=place) as room:
        path = Path(room, "device")
        os.mknod(path, kind | 0o600, os.makedev(*number))
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    return f"made and opened device {number} in {place}"


@attack
def open_device(_targets: Targets) -> str:
    """Every disk that is there, and what is as good as one."""
    found = [Path("/dev", name) for name in _POWERFUL]
    disks = [Path("/dev", name) for name in os.listdir("/dev")]
    found += [path for path in disks if path.is_block_device()]
    return any_of([partial(_open, path) for path in found])


def _open(path: Path) -> str:
    device = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(device).st_mode):
            return f"opened {path}"
    finally:
        os.close(device)
    raise Held(f"{path} is no device")
