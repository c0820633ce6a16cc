"""One container takes all it can of what the kernel has once for everybody."""

import errno
import json
import socket
import struct
import subprocess
import time
from pathlib import Path

from insula.emperor.errors import PreparationError
from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks import packets
from insula.emperor.isolation.attacks.contract import Absent, Held
from insula.emperor.isolation.traps import inside
from insula.emperor.isolation.traps.contract import trap
from insula.emperor.kernel import firewall

_MODULE = "insula.emperor.isolation.attacks.starving"
_NEEDS = f"import json\nfrom {_MODULE} import needs\nprint(json.dumps(needs()))\n"
_STARVE = f"from {_MODULE} import starve_until_told; starve_until_told()"
# What must be gone where the bombs are, or they were none.
_TAKEN = {"a process", "a terminal", "an inotify instance", "room on the disk"}
_SECONDS = 60
# The outside: an address that leads nowhere (RFC 5737)
_NOWHERE = "198.51.100.1"
_FLOOD = f"""
import socket
outgoing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(1, {{count}} + 1):
    outgoing.sendto(b"?", ("{_NOWHERE}", port))
"""
_GET_CONNECTIONS, _NETFILTER = (1 << 8) | 1, 12
_SOURCE, _DESTINATION = 1, 2
_FOLLOWED = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_NONE = "the machine has no way to the outside, or follows no connections"


@trap
def starve_neighbour(made: Arena) -> str:
    """Processes, files, inotify, terminals, queues, disk: gone for us, there next door."""
    with _bombs(made) as bombs:
        own = set(_first_line(bombs))
        if not own >= _TAKEN:
            raise ValueError(f"the bombs did not go off: {sorted(_TAKEN - own)} was left")
        begin = time.monotonic()
        lacking = _lacking(made)
        seconds = time.monotonic() - begin
        assert bombs.stdin is not None
        bombs.stdin.close()
        bombs.wait(_SECONDS)
    if lacking:
        return f"the neighbour lacks {lacking}"
    raise Held(f"we lack {', '.join(sorted(own))}; the neighbour nothing, asked in {seconds:.1f} s")


@trap
def connection_bomb(made: Arena) -> str:
    """Ask many ports of somebody outside; each counts for half a minute, answered or not."""
    wanted, own = firewall.CONNECTIONS * 5 // 4, made.targets.own.ip
    before = _followed()
    inside.python(made, made.attacker, _FLOOD.format(count=wanted))
    try:
        had = connections_of(own)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Held(at_most(_followed(), before=before, wanted=wanted)) from error
    if had == 0:
        raise Absent(_NONE)
    if had < wanted:
        raise Held(f"{had} of {wanted} connections")
    return f"{had} connections in the machine's table"


def connections_of(ip: str, target: str = _NOWHERE) -> int:
    """How many connections from a container to an address the machine's kernel follows."""
    listed = packets.dump(_GET_CONNECTIONS, struct.pack("!BBH", socket.AF_INET, 0, 0), _NETFILTER)
    # CTA_IP_V4_SRC and _DST; both stand so once, for the direction in which it asked
    source, destination = (socket.inet_aton(item) for item in (ip, target))
    return listed.count(struct.pack("=HH4sHH4s", 8, _SOURCE, source, 8, _DESTINATION, destination))


def at_most(followed: int, *, before: int, wanted: int) -> str:
    """What the number of everybody's connections shows, where the kernel names none of them.

    Raises Absent when none came to those before, ValueError when the others' may hide the bomb's.
    """
    if followed >= wanted:
        raise ValueError(
            f"the machine follows {followed} connections and cannot say whose: it needs the kernel"
            " module nf_conntrack_netlink"
        )
    if followed <= before:
        raise Absent(_NONE)
    return f"at most {followed} of {wanted} connections"


def _followed() -> int:
    try:
        return int(_FOLLOWED.read_text())
    except FileNotFoundError:
        return 0


def _lacking(made: Arena) -> dict[str, str]:
    try:
        found = json.loads(inside.python(made, made.victim, _NEEDS))
    except PreparationError as error:
        return {"a login": str(error)}
    assert isinstance(found, dict)
    return found


def _bombs(made: Arena) -> "subprocess.Popen[bytes]":
    command = f"PYTHONPATH=attacks.pyz timeout {_SECONDS} python3 -c '{_STARVE}'"
    return subprocess.Popen(
        [*made.ssh_words(made.attacker.uid), command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _first_line(bombs: "subprocess.Popen[bytes]") -> dict[str, str]:
    assert bombs.stdout is not None
    said = bombs.stdout.readline()
    if not said:
        raise ValueError(f"the bombs ended with {bombs.wait(_SECONDS)} and said nothing")
    found = json.loads(said)
    assert isinstance(found, dict)
    return found
