"""The storage driver for any file system: plain directories without a limit."""

import os
import subprocess
from pathlib import Path

from insula.emperor.errors import StorageError
from insula.emperor.settings import Paths
from insula.emperor.storage import layout


class DirectoryStorage:
    """Directories; a container may fill the disk, which the doctor says."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def prepare(self) -> None:
        layout.prepare_pool(self.paths)

    def release(self) -> None:
        return

    def create_container(self, uid: int, storage_bytes: int) -> None:
        target, building = self.paths.containers / str(uid), layout.unfinished(self.paths, uid)
        if self.has_container(uid):
            return
        self.delete_tree(building)
        building.mkdir(mode=0o700)
        layout.fill(building, uid)
        os.rename(building, target)

    def has_container(self, uid: int) -> bool:
        return (self.paths.containers / str(uid)).is_dir()

    def resize(self, uid: int, storage_bytes: int) -> None:
        return

    def limits(self) -> dict[int, int]:
        return {}

    def used_bytes(self) -> dict[int, int]:
        return {
            int(path.name): -1 for path in self.paths.containers.iterdir() if path.name.isdecimal()
        }

    def set_aside(self, uid: int, *, at: float) -> Path | None:
        if not self.has_container(uid):
            return None
        target = layout.aside(self.paths, uid, at)
        os.rename(self.paths.containers / str(uid), target)
        return target

    def purge(self, aside: Path) -> None:
        self.delete_tree(aside)

    def create_tree(self, tree: Path) -> None:
        tree.mkdir(mode=0o755)

    def clone_tree(self, source: Path, target: Path) -> None:
        done = subprocess.run(
            ["cp", "-a", "--reflink=auto", "--", str(source), str(target)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StorageError(f"copying {source} to {target}: {done.stderr.strip()[:300]}")

    def make_readonly(self, tree: Path) -> None:
        return

    def delete_tree(self, tree: Path) -> None:
        layout.remove_tree(tree)
