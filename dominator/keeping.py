"""What outlives a gate, on a tmpfs: the table, its journal, and what was accepted lately."""

import os
from contextlib import suppress
from pathlib import Path

from insula.emperor.daemon.files import write_atomic


class Keeping:
    """The gate's own files below ``directory``; each method is one step that a kill cannot halve.

    Nothing is synced: the files end with the machine's run time, as does the router they speak of.
    """

    def __init__(self, directory: Path) -> None:
        self._table = directory / "table.json"
        self._journal = directory / "table.journal"
        # Two halves: the older is dropped when all in it is too old to come again.
        self._accepted = directory / "accepted"
        self._accepted_before = directory / "accepted.before"
        self._open: dict[Path, int] = {}
        # How often it must be forgotten until no record is missing any more.
        self._incomplete = 0

    def table(self) -> bytes:
        return _read(self._table) or b"[]"

    def journal(self) -> bytes:
        return _read(self._journal) or b""

    def accepted(self) -> bytes | None:
        """The records that were kept; None when nobody kept any, or not all."""
        halves = [_read(path) for path in (self._accepted_before, self._accepted)]
        found = [half for half in halves if half is not None]
        return b"".join(found) if found else None

    def begin(self) -> None:
        """From now on what is accepted is kept."""
        self._append(self._accepted, b"")

    def save_table(self, data: bytes) -> None:
        write_atomic(self._table, data, mode=0o600, owner=os.geteuid(), group=os.getegid())

    def keep(self, line: bytes) -> None:
        self._append(self._journal, line)

    def clear_journal(self) -> None:
        os.truncate(self._opened(self._journal), 0)

    def remember(self, record: bytes) -> None:
        """Keep a record; one that cannot be kept ends the trust in all of them.

        Nor are later ones kept until the missing one is too old to come again: the next gate would
        take them for all that there were.
        """
        if self._incomplete:
            return
        try:
            self._append(self._accepted, record)
        except OSError:
            self._incomplete = 2
            self._close(self._accepted)
            self._accepted.unlink(missing_ok=True)
            self._accepted_before.unlink(missing_ok=True)
            raise

    def forget_accepted(self, ahead: tuple[bytes, ...] = ()) -> None:
        """Drop the older half; what lies ahead and what comes from now on goes into a new one."""
        self._incomplete = max(0, self._incomplete - 1)
        if self._incomplete:
            return
        self._close(self._accepted)
        with suppress(FileNotFoundError):
            os.rename(self._accepted, self._accepted_before)
        self.begin()
        for record in ahead:
            self.remember(record)

    def _append(self, path: Path, data: bytes) -> None:
        if os.write(self._opened(path), data) != len(data):
            raise OSError(f"{path}: the file system is full")

    def _opened(self, path: Path) -> int:
        if path not in self._open:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._open[path] = os.open(path, flags, 0o600)
        return self._open[path]

    def _close(self, path: Path) -> None:
        fd = self._open.pop(path, None)
        if fd is not None:
            os.close(fd)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
