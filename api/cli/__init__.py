"""The `insula` command: speaks HTTP to the API, and hands the node's own subcommands on."""

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from insula.api.cli.invocation import Invocation, takes_json
from insula.vassals.errors import InsulaError

# Loaded when used: `insula --help` imports neither httpx nor a node's code.
_OURS = ("customer", "container", "domain", "operator", "user", "news")
_NODE = ("node", "distro", "enter", "logs", "explain")
_HELP = {
    "customer": "Customers and their tokens.",
    "container": "Containers: create, list, show, set, reboot, destroy.",
    "domain": "Which names a customer's apps may announce.",
    "operator": "Who may use the pages at /admin/.",
    "user": "Logins with a password, for clients of the ancestor's API.",
    "news": "What the operators tell their customers.",
    "node": "This machine's node: up, down, status, doctor.",
    "distro": "Root file systems: build, list, remove.",
    "enter": "Open a shell in a container, as the operator.",
    "logs": "Show a container's own log.",
    "explain": "Show each step of a container's last changes, with its time.",
    "completion": "Print the completion script for a shell.",
    "version": "Print the version.",
}


class Commands(click.Group):
    """Finds a subcommand by its name; ``container:create`` is ``container create``."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_HELP)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        group, colon, rest = name.partition(":")
        if colon:
            found = self.get_command(context, group)
            return found.get_command(context, rest) if isinstance(found, click.Group) else None
        if name in _OURS:
            module = importlib.import_module(f"insula.api.cli.{name}")
            return getattr(module, name)  # type: ignore[no-any-return]  # a click command by that name
        if name in _NODE:
            node = importlib.import_module("insula.emperor.cli")
            return node.command(name)  # type: ignore[no-any-return]  # its promise
        return super().get_command(context, name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_HELP.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), envvar="INSULA_ROOT",
    help="Below which directory the node lies.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.option(
    "--url", envvar="INSULA_URL", help="A remote API, for instance https://api.example.org"
)
@click.option("--token", envvar="INSULA_TOKEN", help="The token for --url.")
@click.option(
    "--ca", envvar="INSULA_CA", type=click.Path(exists=True, path_type=Path),
    help="Certificate to trust for --url.",
)  # fmt: skip
@click.pass_context
def cli(
    context: click.Context, root: Path, as_json: bool, debug: bool,
    url: str | None, token: str | None, ca: Path | None,
) -> None:  # fmt: skip
    """Insula hosts many customers' apps on plain Linux machines."""
    context.obj = Invocation(root.resolve(), as_json, debug, url, token, ca)


@cli.command()
@takes_json
@click.pass_obj
def version(invocation: Invocation) -> None:
    """Print the version."""
    from importlib.metadata import version as of

    number = of("insula")
    click.echo(json.dumps({"version": number}) if invocation.json else number)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL: `eval "$(insula completion bash)"`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(cli, {}, "insula", "_INSULA_COMPLETE").source())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: an error is two lines on stderr and an exit code (docs/cli.md)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.exit(cli.main(words, prog_name="insula", standalone_mode=False) or 0)
    except click.Abort:
        click.echo("error: stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        _show_usage(error)
        sys.exit(error.exit_code)
    except InsulaError as error:
        if "--debug" in words:
            raise
        _show_error(error.message, error.hint)
        sys.exit(error.exit_code)
    except Exception as error:
        if "--debug" in words:
            raise
        told = f"{type(error).__name__}: {error}"
        _show_error(told, "this should not happen; `insula --debug …` shows where it comes from")
        sys.exit(1)


def _show_usage(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    hint = None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        hint = f"{error.ctx.command_path} --help says more"
    text = error.format_message().rstrip(".")
    _show_error(text[:1].lower() + text[1:], hint)


def _show_error(message: str, hint: str | None) -> None:
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"({hint})", err=True)
