"""Prints what `insula node doctor --isolation` finds, while it finds it."""

import json
import os
import time

import click

from insula.emperor.cli import started_node_of
from insula.emperor.isolation import doctor, last
from insula.emperor.isolation.threats import Threat
from insula.emperor.isolation.walls import WALLS


def show(context: click.Context, names: tuple[str, ...], *, only_list: bool, as_json: bool) -> None:
    """Run the chosen probes, or list them; ends with 1 when a wall is missing."""
    threats = doctor.chosen(names)
    if only_list:
        _list(threats, as_json=as_json)
        return
    node, begin = started_node_of(context), time.monotonic()
    note = _silence if as_json else _note
    found = []
    for probe in doctor.examine(node, threats, note):
        found.append(probe)
        if not as_json:
            click.echo(doctor.line(probe))
    result = doctor.to_json(found, seconds=time.monotonic() - begin)
    if not names:
        last.remember(node, last.Run.of(result, at=time.time(), kernel=os.uname().release))
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        count = sum(probe.passed for probe in found)
        click.echo(f"{count} of {len(found)} held, {result['seconds']} s")
    if not result["passed"]:
        context.exit(1)


def _list(threats: list[Threat], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": item.name, "boundary": item.boundary, "attack": item.attack,
             "walls": [WALLS[name].statement for name in item.walls]}
            for item in threats
        ]  # fmt: skip
        click.echo(json.dumps(rows, indent=2))
        return
    for item in threats:
        walls = "; ".join(WALLS[name].statement for name in item.walls)
        click.echo(f"{item.name:<34} {item.attack} ({walls})")


def _note(text: str) -> None:
    click.echo(f"-- {text}", err=True)


def _silence(_text: str) -> None:
    pass
