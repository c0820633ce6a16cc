"""A process that looks like a container's first one, with a root of its own where it can."""

import ctypes
import os
import time
from pathlib import Path

_NEW = 0x10000000 | 0x20000000 | 0x20000  # user, pid and mount namespaces
_PRIVATE = 0x4000 | 0x40000
_SET_NAME = 15
_SECONDS = 60
PIDS = Path("decoy.pids")


def stand(uid: int, mark: str) -> str:
    """Leave two such processes behind, for a minute, their numbers in PIDS; what it has made.

    The second is number 1 of a pid namespace and sees a file ``mark``, if the kernel lets it.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        _stand(uid, mark, writer)
    os.close(writer)
    return os.read(reader, 200).decode()


def _stand(uid: int, mark: str, writer: int) -> None:
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_NAME, f"[{uid}]".encode(), 0, 0, 0)
    is_refused = libc.unshare(_NEW) != 0
    told = os.strerror(ctypes.get_errno()) if is_refused else "a root of its own"
    if not is_refused:
        Path("/proc/self/setgroups").write_text("deny")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/self/{name}").write_text(f"0 {uid} 1")
    second = os.fork()
    if second == 0:
        if not is_refused:
            libc.mount(b"none", b"/", None, _PRIVATE, None)
            libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None)
            Path(mark).write_text("decoy")
        os.write(writer, told.encode())
    else:
        PIDS.write_text(f"{os.getpid()} {second}")
    os.close(writer)
    time.sleep(_SECONDS)
    os._exit(0)
