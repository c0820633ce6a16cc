"""Attacks on what processes meet by: shared memory, sockets, terminals."""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import termios
from functools import partial
from pathlib import Path

from insula.emperor.isolation.attacks import syscalls
from insula.emperor.isolation.attacks.contract import Held, Targets, any_of, attack

_SECONDS = 3.0
_TIOCSTI, _TIOCSETD = 0x5412, 0x5423


@attack
def read_shared_memory(targets: Targets) -> str:
    """It is found by a number, and its rights let everybody read."""
    near = targets.neighbour
    segment = syscalls.call("shmget", near.port, 0, 0)
    read_only = 0o10000
    found = ctypes.string_at(syscalls.call("shmat", segment, None, read_only), len(near.secret))
    if found != near.secret.encode():
        raise Held("a segment of this number is not the neighbour's")
    return "the neighbour's secret from its shared memory"


@attack
def connect_abstract_socket(targets: Targets) -> str:
    """A name without a file, known to all in a network namespace."""
    return _secret(targets, f"\0victim-{targets.neighbour.uid}")


@attack
def connect_socket_file(targets: Targets) -> str:
    """The machine's path of its /tmp; the socket itself lets everybody in."""
    paths = (f"{targets.neighbour.outside}/tmp/victim.sock", "/tmp/victim.sock")
    return any_of([partial(_secret, targets, path) for path in paths])


def _secret(targets: Targets, address: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_SECONDS)
        client.connect(address)
        if client.recv(100).decode(errors="replace") != targets.neighbour.secret:
            raise Held("that is another's socket")
    return f"the neighbour's secret from {address!r}"


@attack
def connect_platform_socket(targets: Targets) -> str:
    """All that lie in the node's own directories."""
    place = Path(targets.machine.root, "run/insula")
    named = ("emperor-stats.sock", "containers-stats.sock", "api-operator/api.sock",
             "api-node/api.sock")  # fmt: skip
    listed = place.glob("*/*.sock") if place.is_dir() else ()
    paths = [*(place / name for name in named), *listed]
    return any_of([partial(_connect, path) for path in paths])


def _connect(path: Path) -> str:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.settimeout(_SECONDS)
            try:
                client.connect(str(path))
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    raise
            else:
                return f"connected to {path}"
    raise Held(f"{path} is of another kind")


@attack
def type_into_terminal(_targets: Targets) -> str:
    """Whoever reads from it, a shell of root's after `su`, takes it for the keyboard."""
    line = _terminal()
    try:
        fcntl.ioctl(line, _TIOCSTI, b"#")
    except OSError as error:
        off = syscalls.switch("dev/tty/legacy_tiocsti") == "0"
        syscalls.refuse_when_machine_does(error, off=off, why="this kernel types for nobody")
    waiting = struct.unpack("=i", fcntl.ioctl(line, termios.FIONREAD, bytes(4)))[0]
    return f"typed {waiting} letter into our terminal"


@attack
def load_line_discipline(_targets: Targets) -> str:
    """Any terminal may get the driver of a modem or a radio: here the one that does nothing."""
    line = _terminal()
    discipline_null = 27
    try:
        fcntl.ioctl(line, _TIOCSETD, struct.pack("=i", discipline_null))
    except OSError as error:
        known = error.errno != errno.EINVAL
        syscalls.refuse_when_machine_does(error, off=not known, why="this kernel has not this one")
    return "our terminal has another driver now"


def _terminal() -> int:
    """A terminal that is ours to command, with letters at hand as soon as they are typed."""
    # its other end stays open: we would be hung up with it
    _, line = os.openpty()
    fcntl.ioctl(line, termios.TIOCSCTTY, 0)
    settings = termios.tcgetattr(line)
    settings[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(line, termios.TCSANOW, settings)
    return line
