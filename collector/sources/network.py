"""Bytes that containers received and sent, from the host side of their links."""

from insula.collector.sources.files import text
from insula.vassals import identity


def network_bytes(prefix: str, *, path: str = "/proc/net/dev") -> dict[int, tuple[int, int]]:
    """(received, sent) by uid, as the containers see it.

    ``prefix`` is the node's link prefix. The kernel's one table costs less than a directory of
    files for each link.
    """
    found: dict[int, tuple[int, int]] = {}
    for line in text(path).split("\n"):
        name, colon, values = line.strip().partition(":")
        uid = name.removeprefix(prefix)
        if not colon or uid == name or not (uid.isascii() and uid.isdecimal()):
            continue
        words = values.split()
        if identity.is_container_uid(int(uid)) and len(words) > 8:
            # What the host's end receives is what the container has sent.
            found[int(uid)] = (int(words[8]), int(words[0]))
    return found
