"""Makes a fresh Debian tree a distro: mount points, no devices, no set-uid, no secrets."""

import os
import stat
import time
from pathlib import Path

# Where a booting container mounts something, and files that are bound over.
_PLACES = ("containers", "opt/insula", ".old_root", "run", "tmp", "var/tmp", "proc", "sys", "dev")
# Tells one build of a distro from the next.
BUILD_ID = "etc/insula-distro"
_FILES = ("hosts", "hostname", "resolv.conf", "machine-id")


def finish(tree: Path) -> None:
    """Do all of it to an unpacked tree."""
    for place in _PLACES:
        path = tree / place
        # Debian links var/run and the like; the places we mount on are real directories.
        if path.is_symlink():
            path.unlink()
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    for name in _FILES:
        (tree / "etc" / name).unlink(missing_ok=True)
        (tree / "etc" / name).write_text("")
    # The host's sources and proxy may hold a password; customers read this tree.
    for name in ("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/auth.conf"):
        (tree / name).unlink(missing_ok=True)
    for path in (tree / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    _trust_what_the_host_trusts(tree)
    (tree / BUILD_ID).write_text(f"{time.time_ns()}\n")
    for directory, _, files in os.walk(tree):
        for name in files:
            _disarm(os.path.join(directory, name))


def _disarm(path: str) -> None:
    found = os.lstat(path)
    if stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode):
        os.unlink(path)
    elif stat.S_ISREG(found.st_mode) and found.st_mode & 0o6000:
        os.chmod(path, stat.S_IMODE(found.st_mode) & 0o777)


def _trust_what_the_host_trusts(tree: Path) -> None:
    # A company's own CA in front of the package index: pip and curl inside must know it, too.
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    inside = tree / bundle.relative_to("/")
    if bundle.is_file() and inside.parent.is_dir():
        inside.write_bytes(bundle.read_bytes())
