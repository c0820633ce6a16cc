"""What was given before the subcommand, and what every subcommand of ours accepts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Invocation:
    """The object that click hands to each subcommand."""

    root: Path
    json: bool
    debug: bool
    url: str | None = None
    token: str | None = None
    ca: Path | None = None


def _json_here(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.obj = replace(context.obj, json=True)


def takes_json(function: F) -> F:
    """``--json`` is taken before and after the subcommand."""
    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=_json_here, help="Print JSON."
    )
    return option(function)
