"""`insula customer`: those whose containers these are."""

from datetime import datetime

import click

from insula.api.cli.client import Client
from insula.api.cli.invocation import Invocation, takes_json
from insula.api.cli.output import facts, remark, show
from insula.vassals import names

COLUMNS = ("name", "email", "created")
TOKEN_COLUMNS = ("id", "name", "created", "expires", "last_used")


@click.group()
def customer() -> None:
    """Customers and their tokens."""


@customer.command()
@click.argument("name")
@click.option("--email", default="", help="Where the customer is reached.")
@takes_json
@click.pass_obj
def create(invocation: Invocation, name: str, email: str) -> None:
    """Create customer NAME with its own key pair."""
    made = Client(invocation).post("customers", {"name": name, "email": email})
    show(made, as_json=invocation.json, columns=COLUMNS)


@customer.command("list")
@takes_json
@click.pass_obj
def list_customers(invocation: Invocation) -> None:
    """Show all customers."""
    show(Client(invocation).get("customers"), as_json=invocation.json, columns=COLUMNS)


@customer.command("show")
@click.argument("name")
@takes_json
@click.pass_obj
def show_customer(invocation: Invocation, name: str) -> None:
    """Show customer NAME."""
    found = Client(invocation).get(f"customers/{names.label(name, path='NAME')}")
    if invocation.json:
        show(found, as_json=True, columns=())
    else:
        facts(found, (*COLUMNS, "public_key_pem"))


@customer.command()
@click.argument("name")
@click.option("--label", default="cli", show_default=True, help="What the token is for.")
@click.option("--expires", type=click.DateTime(), help="When it ends; never if not given.")
@takes_json
@click.pass_obj
def token(invocation: Invocation, name: str, label: str, expires: datetime | None) -> None:
    """Create an API token for customer NAME and print it, this once."""
    # The name becomes a part of the address: nothing but a name may stand there.
    names.label(name, path="NAME")
    body: dict[str, object] = {"name": label}
    if expires is not None:
        body["expires"] = expires.astimezone().isoformat()
    made = Client(invocation).post(f"customers/{name}/tokens", body)
    if invocation.json:
        show(made, as_json=True, columns=())
        return
    click.echo(made["token"])
    remark("Keep it now: it is not shown again.")


@customer.command()
@click.argument("name")
@takes_json
@click.pass_obj
def tokens(invocation: Invocation, name: str) -> None:
    """Show the tokens of customer NAME, without their texts."""
    found = Client(invocation).get(f"customers/{names.label(name, path='NAME')}/tokens")
    show(found, as_json=invocation.json, columns=TOKEN_COLUMNS)


@customer.command()
@click.argument("name")
@click.argument("token_id", metavar="ID", type=click.IntRange(min=1))
@takes_json
@click.pass_obj
def revoke(invocation: Invocation, name: str, token_id: int) -> None:
    """Revoke token ID of customer NAME for good; `insula customer tokens NAME` shows the ids."""
    path = f"customers/{names.label(name, path='NAME')}/tokens/{token_id}"
    show(Client(invocation).delete(path), as_json=invocation.json, columns=TOKEN_COLUMNS)
