"""Root's programs refuse a path that leads through a directory of a customer's.

The tests find such a path in our own code; this stops one that comes from somewhere else, an
operator's argument for instance, and the one that nobody has found. Python reports each file that
it is about to open, change or list (audit events); looking at one (stat) is not reported.
"""

import os
import sys

from insula.emperor.errors import KernelError
from insula.emperor.settings import Paths

_EVENTS = ("open", "subprocess.Popen", "glob.glob", "pathlib.Path.glob")
_guarded: dict[str, int] = {}


def refuse_paths(paths: Paths) -> None:
    """From now on this process can go below what customers write by ``hold`` alone.

    Any other way raises KernelError. There is no way back; twice is once.
    """
    if not _guarded:
        sys.addaudithook(_look)
    # how many names below each are still root's own
    for top in (paths.containers, paths.removed, paths.apps):
        _guarded[f"{top}/"] = 1
    for top in (paths.api_operator, paths.api_node, paths.api_backups):
        _guarded[f"{top}/"] = 0


def leads_through(path: str) -> bool:
    """True for an absolute path, of which a customer can change a part."""
    plain = os.path.normpath(path)
    return any(
        plain.startswith(top) and plain.count("/", len(top)) >= owned
        for top, owned in _guarded.items()
    )


def _look(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _EVENTS and not event.startswith(("os.", "shutil.", "socket.")):
        return
    if event == "os.exec":
        return  # what `insula enter` runs is inside by then: a path means another thing there
    for argument in _flat(arguments):
        text = os.fsdecode(argument) if isinstance(argument, bytes) else argument
        if text.startswith("/") and leads_through(text):
            raise KernelError(
                f"{text}: root goes no way that a container's user can change",
                "as the container: insula enter UID -- COMMAND",
            )


def _flat(arguments: tuple[object, ...]) -> list[str | bytes]:
    found: list[str | bytes] = []
    for argument in arguments:
        if isinstance(argument, str | bytes):
            found.append(argument)
        elif isinstance(argument, list | tuple):
            found += [item for item in argument if isinstance(item, str | bytes)]
    return found
