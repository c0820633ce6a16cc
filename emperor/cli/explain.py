"""`insula explain UID`: one trace for each change of a container, its steps, times and states."""

import json
import time
from dataclasses import dataclass, field

import click

from insula.emperor.cli import invocation, node_of
from insula.emperor.daemon import trace
from insula.emperor.settings import Paths
from insula.vassals import identity
from insula.vassals.errors import InsulaError
from insula.vassals.report import STEPS, TraceEvent

# A boot takes some 50 ms; what is not there after this does not come by itself.
PATIENCE_SECONDS = 10.0
ORDER = {step: place for place, step in enumerate(STEPS)}
BOOT = ("cloned", "cgroup-joined", "root-switched", "privileges-dropped", "sub-emperor-up")
_BOOT_LOG = "the boot stopped before this step; the node's log has the line: insula node status"
REMEDIES = {
    "feed-received": "see whether the configurator and the API run: insula node status",
    "storage-ready": "see whether the pool is mounted and has space: insula node doctor",
    "network-ready": "see what the machine lacks or which network clashes: insula node doctor",
    "limits-ready": "a limit below what is in use is refused: stop processes or set it higher",
    "files-ready": "see whether its distro is built and the disk has space: insula node doctor",
    "vassal-written": "look at the step that failed before it, and at insula node status",
    "cloned": "see whether the containers Emperor runs: insula node status",
    **dict.fromkeys(BOOT[1:], _BOOT_LOG),
    "routed": "the gate repeats it as soon as the router runs: insula node status",
    "refused": "the first word is the reason's code: docs/refusals.md says what to do",
    "stopped": "a process hangs in the kernel: look at the container's cgroup",
}


@dataclass(slots=True)
class Step:
    """One line of a trace; equal steps that follow one another are one with a count."""

    step: str
    state: str  # ok, failed, waiting, missing
    detail: str = ""
    at: float | None = None
    after_ms: float | None = None
    count: int = 1
    hint: str = ""

    def to_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Change:
    """What one change set going; a restart without a change is one as well."""

    generation: int
    at: float
    cause: str  # change, restart
    steps: list[Step] = field(default_factory=list)

    def has(self, step: str) -> bool:
        return any(item.step == step for item in self.steps)

    def to_json(self) -> dict[str, object]:
        return {
            "generation": self.generation,
            "at": self.at,
            "cause": self.cause,
            "steps": [step.to_json() for step in self.steps],
        }


@click.command()
@click.argument("uid")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def explain(context: click.Context, uid: str, as_json: bool) -> None:
    """Show what became of each change of container UID, step by step.

    The last change comes last. Times count from the moment the change was made.
    """
    number = identity.parse_uid(uid)
    found = changes(read(node_of(context).paths, number), now=time.time())
    if as_json or invocation(context).json:
        click.echo(json.dumps({"uid": number, "changes": [item.to_json() for item in found]}))
    else:
        click.echo(
            text(found) or f"no step of container {number} is on record since the node's start"
        )


def read(paths: Paths, uid: int) -> list[TraceEvent]:
    """The recorded steps. Raises InsulaError when a trace file is broken."""
    try:
        return trace.read(paths, uid)
    except ValueError as error:
        raise InsulaError(
            f"container {uid}: a trace file is broken: {error}",
            f"remove {paths.trace('*', uid)}; the next change writes it anew",
        ) from error


def changes(events: list[TraceEvent], *, now: float) -> list[Change]:
    """Group the steps by what caused them; the newest change also says what is missing."""
    found: list[Change] = []
    current: dict[int, Change] = {}
    # A restarted configurator tells the API's time of a change once more.
    unique = dict.fromkeys(sorted(events, key=lambda event: (event.at, ORDER[event.step])))
    for event in unique:
        change = current.get(event.generation)
        if change is None or _begins_anew(change, event):
            cause = "restart" if event.step == "cloned" else "change"
            change = current[event.generation] = Change(event.generation, event.at, cause)
            found.append(change)
        _add(change, event)
    if found:
        found[-1].steps += missing(found[-1], is_over=now - _last_at(found[-1]) > PATIENCE_SECONDS)
    return found


def _begins_anew(change: Change, event: TraceEvent) -> bool:
    return event.step == "api-changed" or (event.step == "cloned" and change.has("cloned"))


def _add(change: Change, event: TraceEvent) -> None:
    last = change.steps[-1] if change.steps else None
    if last and (last.step, last.state, last.detail) == (event.step, event.state, event.detail):
        last.count += 1
        return
    is_wrong = event.state == "failed"
    change.steps.append(
        Step(
            event.step,
            event.state,
            event.detail,
            event.at,
            round((event.at - change.at) * 1000, 3),
            hint=REMEDIES.get(event.step, "") if is_wrong else "",
        )
    )


def _last_at(change: Change) -> float:
    return max(step.at or 0.0 for step in change.steps)


def missing(change: Change, *, is_over: bool) -> list[Step]:
    """The steps that should have followed: waiting, or missing once their time ``is_over``."""
    wanted: list[tuple[str, str]] = []
    done = {(step.step, step.detail) for step in change.steps if step.state == "ok"}
    names = {name for name, _ in done}
    if "stopped" not in names and names & {"vassal-written", *BOOT}:
        wanted += [(step, "") for step in BOOT if step not in names]
    if names == {"api-changed"}:
        wanted.append(("feed-received", ""))
    wanted += [
        ("routed", detail)
        for name, detail in sorted(done)
        if name == "announced" and ("routed", detail) not in done
    ]
    state = "missing" if is_over else "waiting"
    steps = [Step(step, state, detail) for step, detail in wanted]
    if steps and is_over:
        # What comes after the first missing step cannot be there either.
        steps[0].hint = REMEDIES[steps[0].step]
    return steps


def text(found: list[Change]) -> str:
    """All changes for people."""
    return "\n".join(line for change in found for line in lines(change))


def lines(change: Change) -> list[str]:
    """One change for people: a title, and a line for each step."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(change.at))
    title = f"generation {change.generation}, {change.cause} of {moment} UTC"
    rows = [title]
    for step in change.steps:
        after = "" if step.after_ms is None else "+" + duration(step.after_ms)
        times = f" ({step.count} times)" if step.count > 1 else ""
        row = f"  {after:>16}  {step.state:<8} {step.step:<19} {printable(step.detail)}{times}"
        rows.append(row.rstrip())
        if step.hint:
            rows.append(f"{'':18}  ({step.hint})")
    return rows


def duration(milliseconds: float) -> str:
    """A time that a person can read at a glance."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{milliseconds:.1f} ms"
    if seconds < 60:
        return f"{seconds:.3f} s"
    minutes = int(seconds // 60)
    # With its milliseconds: a node that was away makes an old change true step by step.
    if minutes < 60:
        return f"{minutes} min {seconds % 60:06.3f} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def printable(detail: str) -> str:
    """The detail without what would steer a terminal: a refused name is the customer's own text."""
    return "".join(char if char.isprintable() else "?" for char in detail)
