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
    _table(rows, columns)


def _table(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    # Piped output keeps its columns whole; a terminal gets its own width.
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=200)
    console.print(table)


def remark(text: str) -> None:
    """One line for the person at the terminal."""
    click.echo(text, err=True)
