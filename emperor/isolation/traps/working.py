"""The node works for whichever container asks; a container asks without end."""

import os
import time

from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks.contract import Absent, Held
from insula.emperor.isolation.traps import inside
from insula.emperor.isolation.traps.contract import trap
from insula.emperor.kernel import lxcfs_group

_SECONDS, _READERS = 3, 8
_READ = f"""
import os, time
end = time.monotonic() + {_SECONDS}
for _ in range({_READERS}):
    if os.fork() == 0:
        file = os.open("/proc/stat", os.O_RDONLY)
        while time.monotonic() < end:
            os.pread(file, 65536, 0)
        os._exit(0)
for _ in range({_READERS}):
    os.wait()
"""


@trap
def keep_lxcfs_busy(made: Arena) -> str:
    """Read what lxcfs answers: its work counts for nobody's container."""
    pid_file = made.node.paths.run / "lxcfs.pid"
    if not pid_file.exists():
        raise Absent("the node runs no lxcfs")
    pid = int(pid_file.read_text())
    before, begin = _processor_seconds(pid), time.monotonic()
    inside.python(made, made.attacker, _READ)
    used = (_processor_seconds(pid) - before) / (time.monotonic() - begin) * 100
    told = f"lxcfs took {used:.0f} % of a processor, {lxcfs_group.CPU_PERCENT} % are its own"
    if used < lxcfs_group.CPU_PERCENT * 1.25:
        raise Held(told)
    return told


def _processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        words = file.read().rpartition(")")[2].split()
    # utime and stime of all its threads: fields 14 and 15 of proc(5)
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
