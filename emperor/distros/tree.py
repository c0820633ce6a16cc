"""Makes a fresh tree a distro: mount points, no devices, no set-uid, no secrets.

It follows no link that leads to a place where a container mounts something. What a stranger made is
finished behind a changed root (unpacking.py): there no link leads out at all.
"""

import os
import stat
from pathlib import Path

# Where a booting container mounts something, and files that are bound over.
_PLACES = (
    "containers", "opt/insula", ".old_root", "run", "tmp", "var/tmp", "proc", "sys", "dev",
    "etc", "usr/local", "usr/bin",
)  # fmt: skip
# Tells one build of a distro from the next.
BUILD_ID = "etc/insula-distro"
# timezone and localtime: which zone it is, each container says itself.
_FILES = ("hosts", "hostname", "resolv.conf", "machine-id", "timezone", "localtime")
_ACCOUNTS = {"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n"}
HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def finish(tree: Path, number: int, *, certificates: bytes | None) -> None:
    """Do all of it to an unpacked tree; ``number`` is its build's, ``certificates`` the host's."""
    for place in _PLACES:
        _make_place(tree, place)
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    for name in _FILES:
        _write(tree / "etc" / name, b"")
    for name, text in _ACCOUNTS.items():
        if not _is_file(tree / "etc" / name):
            _write(tree / "etc" / name, text.encode())
    # The host's sources and proxy may hold a password; customers read this tree.
    for name in ("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/auth.conf"):
        (tree / name).unlink(missing_ok=True)
    for path in (tree / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    bundle = tree / HOST_CERTIFICATES.relative_to("/")
    # A company's own CA in front of the package index: pip and curl inside must know it, too.
    if certificates is not None and bundle.parent.is_dir():
        _write(bundle, certificates)
    _write(tree / BUILD_ID, f"{number}\n".encode())
    for directory, _, files in os.walk(tree):
        for name in files:
            _disarm(os.path.join(directory, name))


def host_certificates() -> bytes | None:
    """What this machine trusts, to be trusted inside, too."""
    return HOST_CERTIFICATES.read_bytes() if HOST_CERTIFICATES.is_file() else None


def size_bytes(tree: Path) -> int:
    """What the files of a tree take on the disk; a file with several names counts once."""
    seen: dict[int, int] = {}
    for directory, _, files in os.walk(tree):
        for name in files:
            found = os.lstat(os.path.join(directory, name))
            seen[found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def _make_place(tree: Path, place: str) -> None:
    path = tree
    for name in place.split("/"):
        path = path / name
        # Debian links var/run and the like; the places we mount on are real directories.
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
        path.mkdir(mode=0o755, exist_ok=True)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _write(path: Path, data: bytes) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)


def _disarm(path: str) -> None:
    found = os.lstat(path)
    if stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode):
        os.unlink(path)
    elif stat.S_ISREG(found.st_mode) and found.st_mode & 0o6000:
        os.chmod(path, stat.S_IMODE(found.st_mode) & 0o777)
