"""`insula explain UID`: the steps of each change of a container, with their times and states."""

import itertools
import json

import click

from insula.emperor.cli import invocation, node_of
from insula.emperor.daemon import trace
from insula.vassals import identity
from insula.vassals.report import TraceEvent


@click.command()
@click.argument("uid")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def explain(context: click.Context, uid: str, as_json: bool) -> None:
    """Show what became of each change of container UID, step by step."""
    changes = grouped(trace.read(node_of(context).paths, identity.parse_uid(uid)))
    if as_json or invocation(context).json:
        click.echo(json.dumps({"uid": identity.parse_uid(uid), "changes": changes}))
    else:
        click.echo("\n".join(lines(changes)) or "no step of this container is on record")


def grouped(events: list[TraceEvent]) -> list[dict[str, object]]:
    """One entry a generation, its steps in the order of their times, counted from the first."""
    ordered = sorted(events, key=lambda event: (event.generation, event.at))
    changes: list[dict[str, object]] = []
    for generation, steps in itertools.groupby(ordered, key=lambda event: event.generation):
        found = list(steps)
        started = found[0].at
        changes.append(
            {
                "generation": generation,
                "at": started,
                "steps": [
                    event.to_json() | {"after_ms": round((event.at - started) * 1000, 3)}
                    for event in found
                ],
            }
        )
    return changes


def lines(changes: list[dict[str, object]]) -> list[str]:
    """The same for people."""
    text: list[str] = []
    for change in changes:
        text.append(f"generation {change['generation']}")
        steps = change["steps"]
        assert isinstance(steps, list)
        for step in steps:
            text.append(
                f"  +{step['after_ms']:.1f} ms  {step['state']:<8} {step['step']}  {step['detail']}"
            )
    return text
