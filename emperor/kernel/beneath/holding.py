"""What root does in a customer's directory: through a descriptor that it holds, never by a path."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from insula.emperor.errors import KernelError
from insula.emperor.kernel.beneath.opening import open_beneath, open_regular
from insula.emperor.kernel.beneath.removing import remove_tree


@dataclass(frozen=True, slots=True)
class Held:
    """A directory, held by a descriptor. Below it every name may change at any moment.

    Each method takes a relative path, follows no link and crosses no mount. Raises KernelError.
    """

    fd: int

    def make_directory(self, path: str, *, mode: int, uid: int, gid: int) -> None:
        """Make a directory with its rights; one that is there keeps what is in it.

        Its parent must exist.
        """
        parent, _, name = path.rpartition("/")
        above = open_beneath(self.fd, parent or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            try:
                os.mkdir(name, 0o700, dir_fd=above)
            except FileExistsError:
                pass
            made = open_beneath(above, name, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # In this order: chown clears the set-group-id bit.
                os.fchown(made, uid, gid)
                os.fchmod(made, mode)
            finally:
                os.close(made)
        except OSError as error:
            raise KernelError(f"making the directory {path}: {error.strerror}") from error
        finally:
            os.close(above)

    def read(self, path: str, limit: int, *, owner: int | None = None) -> bytes:
        """At most ``limit`` bytes from the start of a plain file."""
        fd = open_regular(self.fd, path, owner=owner)
        with os.fdopen(fd, "rb") as file:
            return file.read(limit)

    def read_end(self, path: str, limit: int, *, owner: int | None = None) -> bytes:
        """At most ``limit`` bytes from the end of a plain file, however long or empty it is."""
        fd = open_regular(self.fd, path, owner=owner)
        with os.fdopen(fd, "rb") as file:
            file.seek(max(0, os.fstat(fd).st_size - limit))
            return file.read(limit)

    def remove(self, name: str, *, entered: Callable[[int], None] | None = None) -> None:
        """Delete a tree, or whatever ``name`` is; see ``remove_tree``."""
        remove_tree(self.fd, name, entered=entered)


@contextmanager
def hold(directory: Path, below: str = ".") -> Iterator[Held]:
    """Hold ``directory``, whose path root alone can change, or a directory ``below`` it.

    Raises KernelError whose ``__cause__`` is the OSError.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        top = os.open(directory, flags)
    except OSError as error:
        raise KernelError(f"{directory}: {error.strerror}") from error
    try:
        fd = open_beneath(top, below, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(top)
    try:
        yield Held(fd)
    finally:
        os.close(fd)
