"""The node's own subcommands of `insula`; they work without an API and are loaded when used."""

import functools
import importlib
import os
from pathlib import Path
from typing import Protocol, cast

import click

from insula.emperor import settings
from insula.emperor.errors import PreparationError
from insula.emperor.kernel.beneath import refuse_paths
from insula.emperor.settings import Node

NAMES = ("node", "distro", "enter", "logs", "explain")
_TAKE_A_NODE = ("enter", "logs")


class Invocation(Protocol):
    """What the `insula` command hands down as ``ctx.obj``."""

    @property
    def root(self) -> Path: ...

    @property
    def json(self) -> bool: ...

    @property
    def debug(self) -> bool: ...


def command(name: str) -> click.Command:
    """The subcommand of that name; its module is imported now. KeyError for an unknown one."""
    if name not in NAMES:
        raise KeyError(name)
    module = importlib.import_module(f"insula.emperor.cli.{name}")
    found = cast(click.Command, getattr(module, name))
    if name in _TAKE_A_NODE:
        _hand_node_to(found)
    return found


def _hand_node_to(found: click.Command) -> None:
    """Let a command that takes the node itself as its object find it there."""
    callback = found.callback
    if callback is None:
        return

    @functools.wraps(callback)
    def with_node(*arguments: object, **options: object) -> object:
        context = click.get_current_context()
        if not isinstance(context.obj, Node):
            context.obj = node_of(context)
        return callback(*arguments, **options)

    found.callback = with_node


def invocation(context: click.Context) -> Invocation:
    """What was given before the subcommand."""
    return cast(Invocation, context.obj)


def node_of(context: click.Context) -> Node:
    """The node below ``--root``. Raises SettingsError when there is none."""
    found = settings.load(invocation(context).root)
    if os.geteuid() == 0:
        refuse_paths(found.paths)
    return found


def started_node_of(context: click.Context) -> Node:
    """The same with its pool mounted, without which the node would look empty.

    Raises SettingsError, and PreparationError while the node is down.
    """
    found = node_of(context)
    if not found.paths.distros.is_dir():
        raise PreparationError(f"{found.paths.pool} is not mounted", "run bin/up: the node is down")
    return found
