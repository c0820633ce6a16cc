"""`insula distro build|list|remove`: the root file systems that containers stand on."""

import json
import time

import click

from insula.emperor.cli import invocation, node_of, started_node_of
from insula.emperor.cli.node import as_json
from insula.emperor.distros import building, store
from insula.emperor.distros.recipe import recipe
from insula.emperor.progress import Progress
from insula.emperor.storage import driver


@click.group()
def distro() -> None:
    """Root file systems of containers."""


@distro.command()
@click.argument("name")
@click.option("--suite", help="Release, for instance bookworm or noble (the machine's own).")
@click.option("--mirror", help="Address of the packages (the machine's own sources).")
@click.option("--include", multiple=True, metavar="PACKAGE", help="One more package; repeatable.")
@click.option("--cached", is_flag=True, help="Take a pack of the last 7 days, if there is one.")
@as_json
@click.pass_context
def build(
    context: click.Context,
    name: str,
    suite: str | None,
    mirror: str | None,
    include: tuple[str, ...],
    cached: bool,
    json_here: bool,
) -> None:
    """Build or renew a distro; running containers keep theirs until they are rebooted."""
    found = node_of(context)
    wanted = recipe(suite=suite, mirror=mirror, include=include)
    progress = Progress(time.time())
    driver(found).prepare()
    with progress.step(f"distro {name}"):
        building.build(found, name, wanted, progress.note, fresh=not cached)
    if json_here or invocation(context).json:
        click.echo(json.dumps({"name": name, "suite": wanted.suite}))
    else:
        click.echo(name)


@distro.command(name="list")
@as_json
@click.pass_context
def list_(context: click.Context, json_here: bool) -> None:
    """The distros and the containers on each."""
    found = started_node_of(context)
    rows = {name: store.users(found, name) for name in store.listed(found)}
    if json_here or invocation(context).json:
        click.echo(json.dumps([{"name": n, "containers": u} for n, u in rows.items()], indent=2))
        return
    for name, users in rows.items():
        click.echo(f"{name:<24} {len(users)} containers")


@distro.command()
@click.argument("name")
@as_json
@click.pass_context
def remove(context: click.Context, name: str, json_here: bool) -> None:
    """Delete a distro that no container uses."""
    store.remove(started_node_of(context), name)
    if json_here or invocation(context).json:
        click.echo(json.dumps({"name": name, "removed": True}))
