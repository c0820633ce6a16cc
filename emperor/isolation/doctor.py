"""`insula node doctor --isolation`: tries every attack of the threat model on the running node."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from insula.emperor.errors import PreparationError
from insula.emperor.isolation import arena as places
from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks import program as _registers  # noqa: F401
from insula.emperor.isolation.attacks.contract import (
    ABSENT,
    ATTACKS,
    FAILED,
    HELD,
    SECONDS,
    THROUGH,
    Outcome,
)
from insula.emperor.isolation.threats import THREATS, Threat
from insula.emperor.isolation.traps import contract as traps
from insula.emperor.isolation.traps import every as _registers_traps  # noqa: F401
from insula.emperor.isolation.walls import WALLS
from insula.emperor.settings import Node

SSH, APP, NODE = "ssh", "app", "node"
_RESULTS = PurePosixPath("results.jsonl")
_SESSIONS = 3
# Without one more answer; how long all take depends on the machine.
_SILENT_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One attack, tried from one place: by ssh, as a daemon of an app, or with the node's hands."""

    threat: Threat
    source: str
    outcome: Outcome

    @property
    def passed(self) -> bool:
        """A wall stood, or the kernel does not have what was attacked."""
        return self.outcome.verdict in (HELD, ABSENT)

    def to_json(self) -> dict[str, object]:
        """For ``--json``: the walls with the files that enforce them."""
        threat = self.threat
        files = sorted({file for name in threat.walls for file in WALLS[name].enforced_in})
        return {
            "name": threat.name, "boundary": threat.boundary, "attack": threat.attack,
            "walls": list(threat.walls), "enforced_in": files, "from": self.source,
            "passed": self.passed, "verdict": self.outcome.verdict,
            "reason": self.outcome.reason, "seconds": self.outcome.seconds,
        }  # fmt: skip


def chosen(names: tuple[str, ...]) -> list[Threat]:
    """The threats of these names, all without any. Raises PreparationError for an unknown one."""
    unknown = sorted(set(names) - {threat.name for threat in THREATS})
    if unknown:
        raise PreparationError(
            f"there is no probe {unknown[0]}", "insula node doctor --isolation --list shows them"
        )
    return [threat for threat in THREATS if not names or threat.name in names]


def examine(node: Node, threats: list[Threat], note: Callable[[str], None]) -> Iterator[Probe]:
    """Try each threat in the arena, yielding as soon as its outcome is known; cleans up at the end.

    Raises PreparationError when there is no arena to be made.
    """
    inside = [threat for threat in threats if threat.name in ATTACKS]
    with places.arena(node, note) as made:
        note("attacking from an ssh session")
        yield from _from_ssh(made, inside)
        note("attacking from an app")
        yield from _from_app(made, inside)
        note("attacking with the node's own hands")
        for threat in threats:
            if threat.name in traps.TRAPS:
                yield Probe(threat, NODE, traps.run(threat.name, made))


def _from_ssh(made: Arena, threats: list[Threat]) -> Iterator[Probe]:
    """All in one session; what ends it is tried in others, then has failed.

    The kernel may end the program in place of an attack whose memory is not given back yet.
    """
    waiting, tries = list(threats), 0
    while waiting:
        first = waiting[0]
        names = " ".join(threat.name for threat in waiting)
        command = f"python3 attacks.pyz targets.json {names}"
        for said in made.ssh_lines(made.attacker, command, seconds=3 * SECONDS):
            outcome = _outcome(waiting[0], said)
            if outcome is not None:
                yield Probe(waiting.pop(0), SSH, outcome)
        tries = tries + 1 if waiting[:1] == [first] else 1
        if waiting and tries >= _SESSIONS:
            yield Probe(waiting[0], SSH, _silence(waiting.pop(0), "its session ended"))
            tries = 0


def _from_app(made: Arena, threats: list[Threat]) -> Iterator[Probe]:
    if not threats:
        return
    home, words = made.attacker.home, " ".join(threat.name for threat in threats)
    command = f"/usr/bin/python3 {home}/attacks.pyz --out {home}/{_RESULTS} {home}/targets.json"
    made.put(
        made.attacker, "vassals/attack.ini", places.daemon_vassal(f"{command} {words}").encode()
    )
    lines = _app_lines(made, len(threats))
    made.ssh(made.attacker, "rm vassals/attack.ini")
    for threat in threats:
        told = (_outcome(threat, line) for line in lines)
        outcome = next((item for item in told if item is not None), None)
        yield Probe(threat, APP, outcome or _silence(threat, "the app said nothing"))


def _app_lines(made: Arena, wanted: int) -> list[bytes]:
    """What the app has answered when it is through, or has said nothing new for too long."""
    read = f"cat {_RESULTS} 2>&- || cat {_RESULTS.with_suffix('.part')} 2>&-"
    lines: list[bytes] = []
    deadline = time.monotonic() + _SILENT_SECONDS
    while len(lines) < wanted and time.monotonic() < deadline:
        time.sleep(0.3)
        found = made.ssh(made.attacker, read).stdout.splitlines()
        # Fewer: it was started again, or an attack of its own keeps us out.
        if len(found) > len(lines):
            lines, deadline = found, time.monotonic() + _SILENT_SECONDS
    return lines


def _outcome(threat: Threat, said: bytes) -> Outcome | None:
    """What one line of the program inside says of a threat; None when it is about none."""
    try:
        told = Outcome(**json.loads(said))
    except (ValueError, TypeError, RecursionError):
        return None
    is_sound = told.verdict in (HELD, ABSENT, THROUGH, FAILED) and isinstance(told.reason, str)
    return told if is_sound and told.name == threat.name else None


def _silence(threat: Threat, reason: str) -> Outcome:
    return Outcome(threat.name, FAILED, reason, 0.0)


def to_json(probes: list[Probe], *, seconds: float) -> dict[str, object]:
    """The whole run."""
    failed = [probe for probe in probes if not probe.passed]
    return {
        "passed": not failed, "probes": len(probes),
        "threats": len({probe.threat.name for probe in probes}),
        "failed": [f"{probe.threat.name} ({probe.source})" for probe in failed],
        "seconds": round(seconds, 1), "results": [probe.to_json() for probe in probes],
    }  # fmt: skip


def line(probe: Probe) -> str:
    """One line for a terminal."""
    mark = "ok" if probe.passed else "FAIL"
    reason = "".join(c if c.isprintable() else "?" for c in probe.outcome.reason)
    return f"{mark:<5} {probe.threat.name} ({probe.source}): {reason}"
