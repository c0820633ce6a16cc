"""The one package for what root does below a directory that a customer can write.

A customer may swap any name below its home for a link, a pipe or somebody else's file at any
moment, so root never walks such a path by name: ``hold`` gives a descriptor, and what is below is
reached by openat2(2), in one step. actions.py lists every place where that happens.
"""

from insula.emperor.kernel.beneath.connecting import connect
from insula.emperor.kernel.beneath.guard import refuse_paths
from insula.emperor.kernel.beneath.holding import Held, hold
from insula.emperor.kernel.beneath.opening import (
    open_beneath,
    open_regular,
    read_in_root,
    read_own,
)
from insula.emperor.kernel.beneath.removing import remove_tree

__all__ = [
    "Held",
    "connect",
    "hold",
    "open_beneath",
    "open_regular",
    "read_in_root",
    "read_own",
    "refuse_paths",
    "remove_tree",
]
