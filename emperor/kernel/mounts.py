"""Mounts: bind, unmount, device nodes, and what lies on a mount point."""

import os
import stat
from pathlib import Path

from insula.emperor.kernel import libc

MS_BIND = 4096
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8


def bind(source: str, target: Path) -> None:
    """Bind ``source`` over ``target``, which must exist. Raises KernelError."""
    libc.call(
        "mount",
        source.encode(),
        os.fsencode(target),
        None,
        MS_BIND,
        None,
        about=f"binding {source} at {target}",
    )


def character_device(path: Path, major: int, minor: int) -> None:
    """Make a device node that everybody may read and write (mknod(2))."""
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    # the umask does not decide
    path.chmod(0o666)


def unmount(target: Path, *, lazy: bool = False) -> None:
    """Unmount what lies at ``target``; a link in its place is refused. Raises KernelError."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    libc.call("umount2", os.fsencode(target), flags, about=f"unmounting {target}")


def points(mountinfo: Path = Path("/proc/self/mountinfo")) -> dict[Path, str]:
    """Every mount point of this mount namespace with the type of the topmost mount on it."""
    found: dict[Path, str] = {}
    for line in mountinfo.read_text().splitlines():
        left, right = line.split(" - ", 1)
        found[Path(_unescape(left.split(" ")[4]))] = right.split(" ")[0]
    return found


def _unescape(text: str) -> str:
    # proc(5): space, tab, line break and backslash stand there as three octal digits.
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text
