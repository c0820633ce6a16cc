"""What every storage driver promises."""

from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Homes and distros below ``Paths.pool``. Each method raises StorageError when it cannot."""

    def prepare(self) -> None:
        """Make the pool usable: mounted, limits on, its directories there. Twice is once."""

    def release(self) -> None:
        """Unmount what ``prepare`` mounted; nothing is deleted."""

    def create_container(self, uid: int, storage_bytes: int) -> None:
        """Make a container's directories and limit whole or not at all."""

    def has_container(self, uid: int) -> bool:
        """True when the container's directories are there."""

    def resize(self, uid: int, storage_bytes: int) -> None:
        """Set another limit, at once, whatever runs."""

    def limits(self) -> dict[int, int]:
        """The limit of every container that has one, in bytes."""

    def used_bytes(self) -> dict[int, int]:
        """What every container uses; -1 where the driver cannot tell."""

    def set_aside(self, uid: int, *, at: float) -> Path | None:
        """Move a destroyed container's data to ``removed``; None when there is none."""

    def purge(self, aside: Path) -> None:
        """Delete for good what ``set_aside`` kept."""

    def create_tree(self, tree: Path) -> None:
        """Make an empty, writable tree for a distro."""

    def clone_tree(self, source: Path, target: Path) -> None:
        """Copy a distro to a new path, instantly where the file system can."""

    def make_readonly(self, tree: Path) -> None:
        """Close a finished distro against writing, where the file system can."""

    def delete_tree(self, tree: Path) -> None:
        """Delete a distro or an unfinished one; what is not there counts as deleted."""
