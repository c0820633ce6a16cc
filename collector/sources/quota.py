"""Disk usage and limits of all containers, as the configurator left them for us."""

import json
from pathlib import Path

from insula.emperor.errors import StorageError
from insula.vassals.spec import Reader

LIMIT_BYTES = 1 << 62


def disk_usage(path: Path) -> dict[int, tuple[int, int]]:
    """(used, limit) in bytes by uid; -1 where the storage driver cannot tell.

    Empty while the configurator has written nothing. Raises StorageError or InvalidValue for a
    file that is not what it writes.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StorageError(f"{path}: is not JSON", "the configurator writes it anew") from error
    if not isinstance(values, dict):
        raise StorageError(f"{path}: is not an object", "the configurator writes it anew")
    found = {}
    for uid, value in values.items():
        read = Reader(value, f"usage.{uid}")
        if uid.isascii() and uid.isdecimal():
            found[int(uid)] = (
                read.integer("used_bytes", -1, LIMIT_BYTES),
                read.integer("limit_bytes", -1, LIMIT_BYTES),
            )
    return found
