"""`insula node up|down|status|doctor|boot`: brings it up, takes it down, tells how it stands."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

import click

from insula.emperor.cli import invocation, node_of, started_node_of
from insula.emperor.errors import SettingsError
from insula.emperor.progress import Progress
from insula.emperor.settings import Node, NodeSettings, Paths
from insula.vassals.errors import InsulaError

F = TypeVar("F", bound=Callable[..., None])


def as_json(function: F) -> F:
    """`--json` is taken before and after the subcommand."""
    return click.option("--json", "json_here", is_flag=True, help="Print JSON.")(function)


@click.group()
def node() -> None:
    """This machine's node."""


@node.command()
@click.option("--http-port", type=click.IntRange(1, 65535), help="Router, HTTP (80).")
@click.option("--https-port", type=click.IntRange(1, 65535), help="Router, HTTPS (443).")
@click.option("--ssh-port", type=click.IntRange(1, 65535), help="The platform's sshd (2222).")
@click.option("--base-domain", help="Containers answer on <name>.BASE (insula.localhost).")
@click.option("--network", help="The containers' addresses (10.0.0.0/8).")
@click.option(
    "--nightly-isolation/--no-nightly-isolation",
    default=None,
    help="Try all attacks each night at 03:17 (no).",
)
@click.option("--no-demo", is_flag=True, help="Make no demo customer.")
@click.option("--minimal", is_flag=True, help="Python alone in the first distro, less disk.")
@click.option("--started", type=float, hidden=True, help="When bin/up began, unix seconds.")
@as_json
@click.pass_context
def up(
    context: click.Context,
    http_port: int | None,
    https_port: int | None,
    ssh_port: int | None,
    base_domain: str | None,
    network: str | None,
    nightly_isolation: bool | None,
    no_demo: bool,
    minimal: bool,
    started: float | None,
    json_here: bool,
) -> None:
    """Start the node; make what is missing. Run it through bin/up."""
    from insula.emperor import up as steps

    wanted = steps.Wanted(
        http_port=http_port,
        https_port=https_port,
        ssh_port=ssh_port,
        base_domain=base_domain,
        network=network,
        nightly_isolation=nightly_isolation,
        with_demo=not no_demo,
        minimal=minimal,
    )
    progress = Progress(time.time() if started is None else started)
    result = steps.up(invocation(context).root, wanted, progress)
    facts = steps.summary(result)
    if json_here or invocation(context).json:
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo("\n".join(steps.summary_lines(facts)))


@node.command()
@click.option("--purge", is_flag=True, help="Delete all of the node's data, too.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@as_json
@click.pass_context
def down(context: click.Context, purge: bool, yes: bool, json_here: bool) -> None:
    """Stop the node and leave nothing mounted; data stays."""
    from insula.emperor import down as steps

    found = _node_or_default(context)
    if purge and not yes:
        click.confirm(f"Delete every container and secret below {found.paths.root}?", abort=True)
    progress = Progress(time.time())
    steps.down(found, progress)
    if purge:
        with progress.step("delete"):
            steps.purge(found)
    if json_here or invocation(context).json:
        click.echo(json.dumps({"root": str(found.paths.root), "purged": purge}))


@node.command()
@as_json
@click.pass_context
def status(context: click.Context, json_here: bool) -> None:
    """How the node stands."""
    from insula.emperor.status import status as look

    found = look(node_of(context))
    if json_here or invocation(context).json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    for name, value in found.to_json().items():
        if name != "services":
            shown = ", ".join(map(str, value)) if isinstance(value, tuple | list) else value
            click.echo(f"{name:<12} {shown}")
    for service in found.services:
        click.echo(f"{'service':<12} {service.name} pid {service.pid} restarts {service.restarts}")


@node.command()
@click.option("--isolation", is_flag=True, help="Attack from inside two throw-away containers.")
@click.option("--probe", "probes", multiple=True, metavar="NAME", help="Only this attack.")
@click.option("--list", "only_list", is_flag=True, help="List the attacks and their walls.")
@click.option("--nightly", is_flag=True, hidden=True, help="Where node.toml says so.")
@as_json
@click.pass_context
def doctor(
    context: click.Context,
    isolation: bool,
    probes: tuple[str, ...],
    only_list: bool,
    nightly: bool,
    json_here: bool,
) -> None:
    """Check the machine and the node; exit 1 when something fails.

    With --isolation, two containers of two customers are made, every attack of SECURITY.md is tried
    from one against the other and against the machine, and both are taken away again.
    """
    from insula.emperor.cli import isolation as attacks
    from insula.emperor.doctor import doctor as examine

    as_json = json_here or invocation(context).json
    if nightly and not node_of(context).settings.nightly_isolation:
        return
    if isolation or probes or only_list or nightly:
        attacks.show(context, probes, only_list=only_list, as_json=as_json)
        return
    found = examine(_node_or_default(context))
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=2))
    else:
        for item in found:
            click.echo(f"{item.state:<5} {item.name}: {item.detail}")
            if item.remedy:
                click.echo(f"      -> {item.remedy}")
    if any(item.state == "fail" for item in found):
        context.exit(1)


@node.command()
@click.argument("names", nargs=-1)
@click.option("--purge", is_flag=True, help="Delete NAMES, or those --older-than, for good.")
@click.option("--older-than", type=float, metavar="DAYS", help="Only those at least so old.")
@as_json
@click.pass_context
def removed(
    context: click.Context,
    names: tuple[str, ...],
    purge: bool,
    older_than: float | None,
    json_here: bool,
) -> None:
    """List what destroyed containers left, and delete it with --purge."""
    from insula.emperor import removed as aside

    found = started_node_of(context)
    items = aside.listed(found)
    if older_than is not None:
        items = aside.older_than(items, days=older_than, now=time.time())
    if names:
        known = {item.name: item for item in items}
        missing = [name for name in names if name not in known]
        if missing:
            raise click.UsageError(f"{missing[0]} is not among them; run it without names first")
        items = [known[name] for name in names]
    if purge:
        if not names and older_than is None:
            raise click.UsageError("--purge needs NAMES or --older-than DAYS")
        aside.purge(found, [item.name for item in items])
    if json_here or invocation(context).json:
        click.echo(json.dumps([item.to_json() for item in items], indent=2))
        return
    for item in items:
        click.echo(f"{item.name:<20} {aside.age_text(item)}{'  deleted' if purge else ''}")


@node.command()
@click.argument("name", required=False)
@click.option("--list", "list_them", is_flag=True, help="Only name the copies, the oldest first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def restore(
    context: click.Context, name: str | None, list_them: bool, yes: bool, json_here: bool
) -> None:
    """Put a copy of the API's database in place, the newest or NAME; sites go on.

    What the node knows and the copy does not is taken over from the node: customers, containers,
    domains. Lost are tokens, e-mail addresses and log entries that are younger than the copy. The
    name `current` keeps the database and only takes over, `new` takes all from the node.
    """
    from insula.emperor import apidata

    found = started_node_of(context)
    as_json_ = json_here or invocation(context).json
    if list_them:
        names = apidata.backups(found.paths)
        click.echo(json.dumps(names, indent=2) if as_json_ else "\n".join(names))
        return
    if not yes:
        click.confirm("Replace the API's database? The old one is kept beside it", abort=True)
    done = apidata.restore(found, name, Progress(time.time()))
    if as_json_:
        click.echo(json.dumps(done, indent=2))
        return
    for key, value in done.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(f"{key:<12} {shown if shown not in (None, '') else '-'}")


@node.command(hidden=True)
@click.pass_context
def boot(context: click.Context) -> None:
    """What the unit and the supervisor run before each start of the root Emperor."""
    from insula.emperor import service
    from insula.emperor.up import take_up

    found = node_of(context)
    service.boot(found)
    try:
        take_up(found)
    except (InsulaError, OSError) as error:
        # On a full disk the old files start the sites; doctor goes on naming what waits.
        click.echo(f"warning: the new release's files are not written: {error}", err=True)


def _node_or_default(context: click.Context) -> Node:
    """The node, or what would be one: a machine is examined before, tidied up after."""
    try:
        return node_of(context)
    except SettingsError:
        paths = Paths(invocation(context).root)
        if paths.node_toml.exists():
            raise
        return Node(paths, NodeSettings())
