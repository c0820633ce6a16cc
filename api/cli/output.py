"""Data goes to stdout as a table or as JSON; progress and remarks go to stderr."""

import json
from collections.abc import Sequence
from typing import Any

import click


def show(value: Any, *, as_json: bool, columns: Sequence[str]) -> None:
    """Print one object or a list of them; ``columns`` are the fields a table shows."""
    if as_json:
        click.echo(json.dumps(value, indent=2))
        return
    rows = value if isinstance(value, list) else [value]
    if rows:
        _table(rows, columns)
    else:
        remark("none")


def facts(values: dict[str, Any], names: Sequence[str]) -> None:
    """Print one object for people: a line each field, its name in the first column."""
    width = max(len(name) for name in names)
    for name in names:
        value = values.get(name)
        parts = value if isinstance(value, list) else [value]
        lines = [line for part in parts for line in _cell(part).splitlines()]
        for i, line in enumerate(lines or [""]):
            label = "" if i else name.replace("_", " ")
            click.echo(f"{label:<{width}}  {line}".rstrip())


def _table(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    # Piped output keeps its columns whole; a terminal gets its own width.
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=200)
    style = "" if console.no_color else "bold"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style=style)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(table)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    # A customer's text must not steer the terminal of whoever looks at it.
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)


def remark(text: str) -> None:
    """One line for the person at the terminal."""
    click.echo(text, err=True)
