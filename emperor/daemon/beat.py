"""A daemon's sign of life: a file that it touches while it works; a silent daemon is killed."""

import contextlib
import os
import time
from pathlib import Path

BEAT_SECONDS = 1.0


class Beat:
    """Call it once a round, and within what takes minutes (emperor/uwsgi/insula/care.c watches).

    The file is named by the process and its start, so no later process is taken for this one. A
    beat that cannot be written is no fault of the daemon's work: it is left out.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"{os.getpid()}-{_start_of('self')}"
        self._descriptor = -1
        self._due = 0.0
        for left in directory.glob("*-*"):
            pid, _, start = left.name.partition("-")
            if _start_of(pid) != start:
                # Other daemons' files are not ours to remove (the directory is sticky).
                with contextlib.suppress(OSError):
                    left.unlink()

    def __call__(self) -> None:
        """Touch the file, once a second at most."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + BEAT_SECONDS
        with contextlib.suppress(OSError):
            if self._descriptor < 0:
                # nonblock: another daemon may have put a pipe in its place
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags, 0o600)
            os.utime(self._descriptor)

    def end(self) -> None:
        """Take the file away: the daemon ends."""
        self.path.unlink(missing_ok=True)


def _start_of(pid: str) -> str:
    """Field 22 of /proc/<pid>/stat; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
