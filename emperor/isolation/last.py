"""What the last whole run of the isolation doctor has found, for the doctor and the collector."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from insula.emperor.daemon.files import write_atomic
from insula.emperor.settings import Node

_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """One run: ``at`` in unix seconds, ``failed`` names what got through and from where."""

    at: float
    kernel: str
    probes: int
    failed: tuple[str, ...]

    @classmethod
    def of(cls, result: dict[str, Any], *, at: float, kernel: str) -> "Run":
        """From what `insula node doctor --isolation --json` prints."""
        return cls(at, kernel, result["probes"], tuple(result["failed"]))


def remember(node: Node, run: Run) -> None:
    """Keep it in place of the one before. Raises OSError."""
    write_atomic(node.paths.isolation_json, json.dumps(asdict(run)).encode())


def recall(node: Node) -> Run | None:
    """The last run; None when there was none, or its file is damaged."""
    try:
        with node.paths.isolation_json.open("rb") as file:
            found = json.loads(file.read(_LIMIT_BYTES))
        failed = tuple(str(name) for name in found["failed"])
        return Run(float(found["at"]), str(found["kernel"]), int(found["probes"]), failed)
    except (OSError, ValueError, TypeError, KeyError):
        return None
