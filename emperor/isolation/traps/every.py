"""Registers all traps."""

from insula.emperor.isolation.traps import (  # noqa: F401
    doorway,
    homes,
    logins,
    printing,
    requests,
    sockets,
    starving,
    tunnels,
    words,
    working,
)
