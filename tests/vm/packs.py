"""The small distro that a guest would build for itself, packed here, where that is faster."""

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from insula.emperor import aptsources
from insula.emperor.distros import building
from insula.emperor.distros.recipe import recipe


def pack(suite: str, *, handed_over: Path, disk: Path) -> Path:
    """The pack that `bin/up --minimal` looks for in a guest, made now if it is missing or old.

    ``handed_over`` is what the guest's /etc/apt is given beside what its disk has.
    """
    with tempfile.TemporaryDirectory() as name:
        apt = Path(name) / "apt"
        shutil.copytree(handed_over, apt)
        if not (apt / "sources.list").exists():
            (apt / "sources.list").write_text(_on_disk(disk, "/etc/apt/sources.list"))
        sources = aptsources.host_sources(suite, apt)
    return building.packed(
        replace(recipe(suite=suite, minimal=True), sources=sources), print, fresh=False
    )


def _on_disk(disk: Path, path: str) -> str:
    """A file of a disk that is not mounted."""
    argv = ["debugfs", "-R", f"cat {path}", str(disk)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
