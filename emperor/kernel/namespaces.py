"""A container's namespaces: finding its first process through the kernel, and going inside."""

import os
import select
import stat
from dataclasses import dataclass
from pathlib import Path

from insula.emperor.errors import KernelError
from insula.emperor.kernel import libc

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
ALL = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2
# personality(2): the kind is in the lowest byte; this one is a 32-bit container's
_PER_MASK, _PER_LINUX32 = 0xFF, 8
_PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41

RETRY = "try again in a second"


@dataclass(frozen=True, slots=True)
class Doorway:
    """A running container: its cgroups, and a descriptor that holds its first process.

    ``personality`` is that process's execution domain, by which a 32-bit uname says i686.
    """

    uid: int
    cgroups: tuple[Path, ...]
    pid: int
    pidfd: int
    personality: int = 0

    @property
    def is_32bit(self) -> bool:
        """Whether the container stands on a 32-bit distro; its boot made it so."""
        return self.personality & _PER_MASK == _PER_LINUX32


def read_cgroups(path: Path) -> tuple[Path, ...]:
    """The cgroup directories that ``path`` lists. Raises KernelError when there is no such list.

    The list decides whom root joins, so only root's own regular file counts.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise KernelError(
            f"container {path.name} is not on this machine", "see: insula node status"
        ) from error
    with os.fdopen(fd) as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != 0 or info.st_mode & 0o022:
            raise KernelError(f"{path}: is not root's own file, refusing to believe it")
        lines = file.read().splitlines()
    if not lines or any(not line.startswith("/") or ".." in line for line in lines):
        raise KernelError(f"{path}: should list absolute directories, one a line")
    return tuple(Path(line) for line in lines)


def is_first(status: str, *, uid: int) -> bool | None:
    """Whether a /proc/PID/status is a container's first process; None when it still boots.

    That process is number 1 of a pid namespace directly below ours, so NSpid has exactly two
    numbers. It is root's until the boot has switched the root and dropped every right.
    """
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    numbers = fields.get("NSpid", "").split()
    if len(numbers) != 2 or numbers[1] != "1":
        return False
    return True if fields.get("Uid", "").split() == [str(uid)] * 4 else None


def first_process(cgroup: Path, *, uid: int, proc: Path) -> int:
    """The pid of the container's first process. Raises KernelError while there is not just one."""
    found: dict[int, bool | None] = {}
    try:
        pids = [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]
    except OSError:
        pids = []
    for pid in pids:
        try:
            answer = is_first((proc / str(pid) / "status").read_text(), uid=uid)
        except OSError:
            continue
        if answer is not False:
            found[pid] = answer
    if not found:
        raise KernelError(f"container {uid} is not running", f"see: insula explain {uid}")
    if len(found) > 1 or None in found.values():
        raise KernelError(f"container {uid} is starting", RETRY)
    return next(iter(found))


def find(cgroup_list: Path, *, uid: int, proc: Path = Path("/proc")) -> Doorway:
    """Hold the container's first process by a pidfd, which the caller closes. Raises KernelError.

    A pid can be used again by another process at any moment. So the search is repeated while the
    pidfd holds the first answer: the same number, still alive, is the same process.
    """
    cgroups = read_cgroups(cgroup_list)
    pid = first_process(cgroups[0], uid=uid, proc=proc)
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise KernelError(f"container {uid} is restarting", RETRY) from error
    try:
        personality = _personality(pid, proc)
        again = first_process(cgroups[0], uid=uid, proc=proc)
        # A pidfd becomes readable when its process ends.
        if again != pid or select.select([pidfd], [], [], 0)[0]:
            raise KernelError(f"container {uid} is restarting", RETRY)
    except KernelError:
        os.close(pidfd)
        raise
    return Doorway(uid, cgroups, pid, pidfd, personality)


def go_inside(door: Doorway) -> None:
    """Join the container's cgroups and namespaces; the pid namespace counts for children only.

    There is no way back: a caller that gets a KernelError ends its process.
    """
    for cgroup in door.cgroups:
        try:
            (cgroup / "cgroup.procs").write_text("0")
        except OSError as error:
            raise KernelError(f"container {door.uid}: {cgroup}: {error.strerror}") from error
    libc.call("setns", door.pidfd, ALL, about=f"entering container {door.uid}")
    libc.call("personality", door.personality, about="taking the container's personality")
    os.close(door.pidfd)


def _personality(pid: int, proc: Path) -> int:
    try:
        return int((proc / str(pid) / "personality").read_text(), 16)
    except (OSError, ValueError):
        return 0


def private_mounts() -> None:
    """Give this process mounts of its own: nothing it mounts from now on is seen outside."""
    libc.call("unshare", CLONE_NEWNS, about="making a mount namespace")
    libc.call(
        "mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None, about="making mounts private"
    )


def switch_root(directory: Path) -> None:
    """Make ``directory``, a mount point, the root and let go of everything else."""
    os.chdir(directory)
    # pivot_root(2): "." twice puts the old root on top of the new one, where it is unmounted.
    libc.call("syscall", _PIVOT_ROOT, b".", b".", about=f"switching the root to {directory}")
    libc.call("umount2", b".", MNT_DETACH, about="letting go of the old root")
    os.chdir("/")
