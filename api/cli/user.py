"""`insula user`: customers' logins with a password, for clients of the ancestor's API."""

import secrets
from typing import Any, TextIO

import click

from insula.api.cli.client import Client
from insula.api.cli.invocation import Invocation, takes_json
from insula.api.cli.output import remark, show
from insula.vassals import names

COLUMNS = ("name", "customer", "is_active", "created")
password_file = click.option(
    "--password-file", type=click.File(), help="Its first line, - is stdin; else one is made."
)


@click.group()
def user() -> None:
    """Logins with a password, for clients of the ancestor's API."""


@user.command()
@click.argument("customer")
@click.argument("name")
@password_file
@takes_json
@click.pass_obj
def create(invocation: Invocation, customer: str, name: str, password_file: TextIO | None) -> None:
    """Give CUSTOMER a login called NAME."""
    chosen = _password(password_file)
    path = f"customers/{names.label(customer, path='CUSTOMER')}/users"
    made = Client(invocation).post(path, {"name": name, "password": chosen})
    _show(invocation, made, chosen if password_file is None else None)


@user.command("list")
@click.argument("customer")
@takes_json
@click.pass_obj
def list_users(invocation: Invocation, customer: str) -> None:
    """Show the logins of CUSTOMER."""
    path = f"customers/{names.label(customer, path='CUSTOMER')}/users"
    show(Client(invocation).get(path), as_json=invocation.json, columns=COLUMNS)


@user.command()
@click.argument("name")
@password_file
@takes_json
@click.pass_obj
def password(invocation: Invocation, name: str, password_file: TextIO | None) -> None:
    """Give the login NAME a new password; the old one is refused at once."""
    chosen = _password(password_file)
    made = Client(invocation).patch(_path(name), {"password": chosen})
    _show(invocation, made, chosen if password_file is None else None)


@user.command()
@click.argument("name")
@takes_json
@click.pass_obj
def disable(invocation: Invocation, name: str) -> None:
    """Refuse the login NAME from now on."""
    _show(invocation, Client(invocation).patch(_path(name), {"is_active": False}), None)


@user.command()
@click.argument("name")
@takes_json
@click.pass_obj
def enable(invocation: Invocation, name: str) -> None:
    """Let the login NAME in again."""
    _show(invocation, Client(invocation).patch(_path(name), {"is_active": True}), None)


def _password(file: TextIO | None) -> str:
    # Never an argument of the command: every process of the machine could read it.
    return secrets.token_urlsafe(16) if file is None else file.readline().rstrip("\r\n")


def _path(name: str) -> str:
    """The name becomes a part of the address: no character that means something there."""
    if not name or set(name) & set("/?#%\\") or not name.isprintable() or " " in name:
        raise click.UsageError(f"{name!r} is not a login name")
    return f"users/{name}"


def _show(invocation: Invocation, made: dict[str, Any], chosen: str | None) -> None:
    """The login, and the password where the command made it."""
    if invocation.json:
        show(made | ({} if chosen is None else {"password": chosen}), as_json=True, columns=())
        return
    show(made, as_json=False, columns=COLUMNS)
    if chosen is not None:
        click.echo(chosen)
        remark("Keep the password now: it is not shown again.")
