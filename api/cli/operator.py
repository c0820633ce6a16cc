"""`insula operator`: the people who may use the pages at /admin/."""

import secrets
from typing import TextIO

import click

from insula.api.cli.client import Client
from insula.api.cli.invocation import Invocation, takes_json
from insula.api.cli.output import remark, show


@click.group()
def operator() -> None:
    """Operators of the pages at https://api.<base domain>/admin/."""


@operator.command()
@click.argument("name")
@click.option(
    "--password-file", type=click.File(), help="Its first line, - is stdin; else one is made."
)
@takes_json
@click.pass_obj
def create(invocation: Invocation, name: str, password_file: TextIO | None) -> None:
    """Give NAME an account, or a new password."""
    # Never an argument of the command: every process of the machine could read it.
    given = None if password_file is None else password_file.readline().rstrip("\r\n")
    chosen = secrets.token_urlsafe(16) if given is None else given
    made = Client(invocation).post("operators", {"name": name, "password": chosen})
    if invocation.json:
        show(made | ({"password": chosen} if given is None else {}), as_json=True, columns=())
        return
    show(made, as_json=False, columns=("name",))
    if given is None:
        click.echo(chosen)
        remark("Keep the password now: it is not shown again.")
