"""`insula distro …`: the root file systems that containers stand on."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from insula.emperor import renewal
from insula.emperor.cli import invocation, node_of, started_node_of
from insula.emperor.cli.node import as_json
from insula.emperor.distros import (
    building,
    builds,
    importing,
    inventory,
    recipe,
    store,
    upgrading,
)
from insula.emperor.distros.builds import Build
from insula.emperor.distros.recipe import Recipe
from insula.emperor.distros.upgrading import Outcome, UpgradeFailed
from insula.emperor.progress import Progress
from insula.emperor.settings import Node
from insula.emperor.storage import driver
from insula.vassals.errors import InvalidValue

_MEBIBYTE = 1 << 20


@click.group()
def distro() -> None:
    """Root file systems of containers."""


def _recipe_options(function: Any) -> Any:
    for option in (
        click.option("--suite", help="Release, for instance bookworm (the machine's own)."),
        click.option("--mirror", help="Address of the packages (the machine's own sources)."),
        click.option("--include", multiple=True, metavar="PACKAGE", help="One more; repeatable."),
        click.option("--arch", help="For instance i386 on an amd64 machine (the machine's own)."),
        click.option("--minimal", is_flag=True, help="uWSGI, Python and a shell alone."),
    ):  # fmt: skip
        function = option(function)
    return function


def _import_options(function: Any) -> Any:
    for option in (
        click.option(
            "--max-size", type=click.IntRange(min=1), metavar="MIB",
            default=importing.DEFAULT_MAXIMUM_BYTES // _MEBIBYTE, show_default=True,
            help="Refuse a tree that is larger.",
        ),
        click.option("--without-uwsgi", is_flag=True, help="Take a tree without uWSGI."),
    ):  # fmt: skip
        function = option(function)
    return function


_timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=upgrading.BOUND_SECONDS,
    show_default=True,
    help="Seconds that a container has to come up.",
)


@distro.command()
@click.argument("name")
@_recipe_options
@click.option("--cached", is_flag=True, help="Take a pack of the last 7 days, if there is one.")
@as_json
@click.pass_context
def build(
    context: click.Context, /, name: str, cached: bool, json_here: bool, **options: Any
) -> None:
    """Build or renew a distro: new containers and those rebooted on request take the new build."""
    found = node_of(context)
    wanted = _recipe(options)
    progress = Progress(time.time())
    driver(found).prepare()
    with progress.step(f"distro {name}"):
        building.build(found, name, wanted, progress.note, fresh=not cached)
    _say(context, json_here, {"name": name, "suite": wanted.suite}, name)


def _recipe(options: dict[str, Any]) -> Recipe:
    return recipe.recipe(
        suite=options["suite"],
        mirror=options["mirror"],
        include=options["include"],
        minimal=options["minimal"],
        architecture=options["arch"],
    )


@distro.command(name="import")
@click.argument("name")
@click.argument("archive")
@_import_options
@as_json
@click.pass_context
def import_(
    context: click.Context, name: str, archive: str, max_size: int, without_uwsgi: bool,
    json_here: bool,
) -> None:  # fmt: skip
    """Make distro NAME of ARCHIVE: a packed root file system, or an OCI or Docker image's archive.

    ARCHIVE may be compressed by gzip, bzip2, xz or zstd; - is standard input. Nothing of it is
    trusted: owners, devices, set-uid bits and capabilities are left out.
    """
    found = node_of(context)
    progress = Progress(time.time())
    driver(found).prepare()
    with progress.step(f"distro {name}"):
        made = importing.import_(
            found, name, archive, progress.note,
            maximum_bytes=max_size * _MEBIBYTE, without_uwsgi=without_uwsgi,
        )  # fmt: skip
    for warning in made.warnings:
        progress.note(f"warning: {warning}")
    _say(context, json_here, {"name": name, "warnings": list(made.warnings)}, name)


@distro.command(name="list")
@as_json
@click.pass_context
def list_(context: click.Context, json_here: bool) -> None:
    """The distros, how each was made, and the containers on each."""
    found = started_node_of(context)
    rows = [inventory.described(found, name) for name in store.listed(found)]
    if json_here or invocation(context).json:
        click.echo(json.dumps([row.to_json() for row in rows], indent=2))
        return
    form = "{:<20} {:<12} {:<8} {:>9}  {:<16}  {}"
    click.echo(form.format("name", "suite", "arch", "size", "made at (UTC)", "containers"))
    for row in rows:
        size = f"{row.facts.size_bytes / _MEBIBYTE:.0f} MiB" if row.facts.size_bytes >= 0 else "?"
        at = datetime.fromtimestamp(row.facts.made_at, UTC).strftime("%Y-%m-%d %H:%M")
        told = f"{len(row.containers)}{row.remark()}"
        click.echo(
            form.format(
                row.name, row.facts.suite or "?", row.facts.architecture or "?", size, at, told
            )
        )


@distro.command()
@click.argument("name")
@click.option("--from", "archive", metavar="ARCHIVE", help="Import it instead of building.")
@click.option("--only", multiple=True, type=int, metavar="UID", help="Move it alone, now.")
@click.option("--keep-going", is_flag=True, help="A container that fails goes back alone.")
@click.option("--dry-run", is_flag=True, help="Say who would be moved; change nothing.")
@click.option("--cached", is_flag=True, help="Take a pack of the last 7 days, if there is one.")
@_timeout_option
@_recipe_options
@_import_options
@as_json
@click.pass_context
def upgrade(
    context: click.Context, /, name: str, archive: str | None, only: tuple[int, ...],
    keep_going: bool, dry_run: bool, timeout: float, json_here: bool, **options: Any,
) -> None:  # fmt: skip
    """Build NAME anew and reboot its containers onto it, one by one.

    Each must come up with its domains. The first that does not takes all back to the old build.
    A run that was killed is finished by the next one. Without options it is built as last time.
    """
    found = started_node_of(context)
    progress = Progress(time.time())
    if dry_run:
        _finish(context, json_here, upgrading.planned(found, name))
        return
    wanted = upgrading.Wanted(only, keep_going, timeout)
    make = _maker(found, name, archive, options, progress)
    outcome = upgrading.upgrade(found, name, make, progress.note, wanted)
    if outcome.state == "done" and name == found.settings.default_distro:
        renewal.renew(found, progress.note)
    _finish(context, json_here, outcome)


def _maker(
    node: Node, name: str, archive: str | None, options: dict[str, Any], progress: Progress
) -> Callable[[], Build]:
    """What makes the new build when one is needed; wrong options are refused now."""
    current = builds.current(node.paths, name)
    known = builds.facts_of(node.paths, current) if current else builds.Facts()
    if archive is not None:
        return lambda: _imported(node, name, archive, options, progress)
    given = any(options[key] for key in ("suite", "mirror", "include", "arch", "minimal"))
    if known.origin == "imported" and not given:

        def refuse() -> Build:
            raise InvalidValue(f"{name} was imported", "give the new archive: --from ARCHIVE")

        return refuse  # fmt: skip
    wanted = _recipe(options) if given else inventory.recipe_of(known)

    def make() -> Build:
        with progress.step(f"distro {name}"):
            return building.new_build(
                node, name, wanted, progress.note, fresh=not options["cached"]
            )

    return make


def _imported(
    node: Node, name: str, archive: str, options: dict[str, Any], progress: Progress
) -> Build:
    with importing.opened(archive) as source, progress.step(f"distro {name}"):
        made = importing.new_build(
            node, name, source, progress.note,
            maximum_bytes=options["max_size"] * _MEBIBYTE, without_uwsgi=options["without_uwsgi"],
        )  # fmt: skip
    for warning in made.warnings:
        progress.note(f"warning: {warning}")
    return made.build


@distro.command()
@click.argument("name")
@_timeout_option
@as_json
@click.pass_context
def rollback(context: click.Context, name: str, timeout: float, json_here: bool) -> None:
    """Take NAME and its containers back to the build before the last upgrade."""
    found = started_node_of(context)
    progress = Progress(time.time())
    wanted = upgrading.Wanted(bound_seconds=timeout)
    outcome = upgrading.rollback(found, name, progress.note, wanted)
    if name == found.settings.default_distro:
        renewal.renew(found, progress.note)
    _finish(context, json_here, outcome)


@distro.command()
@click.argument("name")
@as_json
@click.pass_context
def prune(context: click.Context, name: str, json_here: bool) -> None:
    """Delete the old build of NAME that is kept for a rollback."""
    gone = upgrading.prune(started_node_of(context), name)
    _say(
        context, json_here, {"name": name, "deleted": gone}, "\n".join(gone) or "nothing to delete"
    )


@distro.command()
@click.argument("name")
@as_json
@click.pass_context
def remove(context: click.Context, name: str, json_here: bool) -> None:
    """Delete a distro that no container uses."""
    store.remove(started_node_of(context), name)
    _say(context, json_here, {"name": name, "removed": True}, "")


def _finish(context: click.Context, json_here: bool, outcome: Outcome) -> None:
    """Print what came of it; a failure ends with an error."""
    lines = [f"{outcome.name}: {outcome.state}, {len(outcome.moved)} containers moved"]
    if outcome.left:
        lines.append(f"not moved: {', '.join(map(str, outcome.left))}")
    if outcome.state == "open":
        lines.append(f"go on with: insula distro upgrade {outcome.name}")
        lines.append(f"or undo it: insula distro rollback {outcome.name}")
    _say(context, json_here, outcome.to_json(), "\n".join(lines))
    if outcome.failed:
        first = outcome.failed[0]
        told = "".join(f"\n  {line}" for line in first.log)
        raise UpgradeFailed(
            f"container {first.uid}: {first.reason}{told}", f"insula explain {first.uid} says more"
        )


def _say(context: click.Context, json_here: bool, value: object, text: str) -> None:
    if json_here or invocation(context).json:
        click.echo(json.dumps(value))
    elif text:
        click.echo(text)
