"""Lines that a container prints where the node's operator would take them for the node's own."""

import secrets
from pathlib import Path

from insula.emperor import service
from insula.emperor.command import run
from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks.contract import Held
from insula.emperor.isolation.traps import inside
from insula.emperor.isolation.traps.contract import trap

_LAST_BYTES, _LAST_LINES = 1024 * 1024, 3000
# Standard output and error of an app, as soon as it is started, and a line break on the way.
_VASSAL = """[uwsgi]
exec-asap = printf 'first\\n{word}\\n'; printf '{word}\\n' >&2; touch $HOME/printed
"""
_EVERYWHERE = """
import glob, socket, syslog
word = "{word}\\n".encode()
places = ["/dev/console", "/dev/kmsg", "/dev/tty1", *glob.glob("/proc/[0-9]*/fd/[12]")]
for path in places:
    with contextlib.suppress(OSError):
        with open(path, "wb", 0) as file:
            file.write(word)
for path in ("/dev/log", "/run/systemd/journal/socket", "/run/systemd/journal/stdout"):
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
            way.sendto(b"<3>" + word, path)
syslog.syslog("{word}")
"""


@trap
def write_nodes_log(made: Arena) -> str:
    """From an app, from a session, through every place where logs are taken."""
    word = f"isolation-{secrets.token_hex(8)}"
    try:
        made.put(made.attacker, "vassals/printing.ini", _VASSAL.format(word=word).encode())
        inside.python(made, made.attacker, _EVERYWHERE.format(word=word))
        inside.wait(
            "the app has printed", lambda: made.ssh(made.attacker, "rm printed").returncode == 0
        )
    finally:
        made.ssh(made.attacker, "rm -f vassals/printing.ini printed")
    if word in _nodes_log(made):
        return "a container's line stands in the node's own log"
    raise Held("what it printed stands in its own log alone")


def _nodes_log(made: Arena) -> str:
    """The end of what the root Emperor and all below it said."""
    if service.has_systemd():
        unit = service.unit_name(made.node)
        words = ["journalctl", f"--unit={unit}", f"--lines={_LAST_LINES}", "--no-pager"]
        return run(words)
    path = Path(service.log_place(made.node))
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_BYTES))
        return file.read().decode(errors="replace")
