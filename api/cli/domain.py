"""`insula domain`: which names a customer's apps may announce."""

import click

from insula.api.cli.client import Client
from insula.api.cli.invocation import Invocation, takes_json
from insula.api.cli.output import show
from insula.vassals import names

COLUMNS = ("name", "customer", "state", "container")


@click.group()
def domain() -> None:
    """Domains; a first dot (.example.org) stands for every name below."""


@domain.command()
@click.argument("name")
@click.option("--customer", help="Whose domain it is (operators).")
@takes_json
@click.pass_obj
def add(invocation: Invocation, name: str, customer: str | None) -> None:
    """Let a customer's apps announce NAME."""
    body: dict[str, object] = {"name": name}
    if customer is not None:
        body["customer"] = customer
    made = Client(invocation).post("domains", body)
    show(made, as_json=invocation.json, columns=COLUMNS)


@domain.command("list")
@click.option("--customer", help="Only this customer's.")
@takes_json
@click.pass_obj
def list_domains(invocation: Invocation, customer: str | None) -> None:
    """Show the attached domains."""
    found = Client(invocation).get("domains", customer=customer)
    show(found, as_json=invocation.json, columns=COLUMNS)


@domain.command()
@click.argument("name")
@takes_json
@click.pass_obj
def remove(invocation: Invocation, name: str) -> None:
    """Detach NAME; its traffic stops at once."""
    gone = Client(invocation).delete(f"domains/{names.domain(name, path='NAME')}")
    show(gone, as_json=invocation.json, columns=COLUMNS)
