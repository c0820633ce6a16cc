"""Nothing outlives a killed build: its processes and mounts go at once, its files with the next."""

import os
import stat
import tempfile
from pathlib import Path

from insula.emperor.storage import layout

# What runs behind these words ends when we do, with all its children, and so do its mounts.
ALONE = (
    "setpriv", "--pdeathsig=KILL", "--",
    "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
    "--propagation=private", "--",
)  # fmt: skip
_PREFIX = "insula-distro-"


def prefix() -> str:
    """How this process's temporary directory is called, so that the next one knows whose it is."""
    return f"{_PREFIX}{os.getpid()}-"


def sweep(cache: Path) -> None:
    """Delete what builds left whose process has ended."""
    for path in cache.glob(".*.tar.*"):
        if not _lives(path.name.rpartition(".")[2]):
            path.unlink(missing_ok=True)
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        found = path.lstat()
        # Anybody may make such a name there.
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == 0
        if is_ours and not _lives(path.name.removeprefix(_PREFIX).partition("-")[0]):
            layout.remove_tree(path)


def _lives(pid: str) -> bool:
    return pid.isdecimal() and Path("/proc", pid).exists()
