"""The kernel's tables that all containers share, made so large that nobody can fill them.

What stands in them counts in its container's memory or pids limit, so those limits come first.
"""

from contextlib import suppress
from pathlib import Path

# An open file costs its container some 250 bytes, a place in a queue 32, a terminal a few KiB, a
# process its pid; each has two places among the hardware addresses, its own and the gateway's.
# systemd sets files and pids alike.
_PLACES = {
    "fs/file-max": (1 << 63) - 1,
    "fs/aio-max-nr": 1 << 30,
    "kernel/pid_max": 1 << 22,
    "kernel/pty/max": 1 << 17,
    "net/ipv4/neigh/default/gc_thresh2": 1 << 15,
    "net/ipv4/neigh/default/gc_thresh3": 1 << 16,
    # bytes of compiled filters of system calls; a customer may give its processes some, too
    "net/core/bpf_jit_limit": 1000 << 20,
}


def enlarge(proc: Path = Path("/proc")) -> None:
    """Raise what is smaller; nothing is ever lowered.

    A machine that does not let us keeps what it has: `insula node doctor` tells of open files.
    """
    for name, places in _PLACES.items():
        path = proc / "sys" / name
        # also a 32-bit kernel refuses what is too large for it
        with suppress(OSError, ValueError):
            if int(path.read_text()) < places:
                path.write_text(str(places))
