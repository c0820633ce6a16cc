"""The resolv.conf of the containers: the machine's real upstream resolvers."""

from ipaddress import ip_address
from pathlib import Path

HOST = Path("/etc/resolv.conf")
# systemd-resolved listens on 127.0.0.53 and keeps the servers it asks itself here.
UPSTREAM = Path("/run/systemd/resolve/resolv.conf")


def resolv_conf(files: tuple[Path, ...] = (HOST, UPSTREAM)) -> str:
    """The first file's text that names a resolver which a container can reach; else ''.

    A loopback address is no use there: a container's own loopback answers nothing.
    """
    for path in files:
        try:
            text = path.read_text()
        except OSError:
            continue
        kept = [line for line in text.splitlines() if _is_useful(line)]
        if any(line.startswith("nameserver") for line in kept):
            return "\n".join(kept) + "\n"
    return ""


def _is_useful(line: str) -> bool:
    words = line.split()
    if not words or words[0] not in ("nameserver", "search", "options", "domain"):
        return False
    if words[0] != "nameserver":
        return True
    try:
        # Containers have IPv4 alone.
        address = ip_address(words[1])
    except (IndexError, ValueError):
        return False
    return address.version == 4 and not address.is_loopback
