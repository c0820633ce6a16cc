"""`insula news`: what the operators tell their customers."""

import click

from insula.api.cli.client import Client
from insula.api.cli.invocation import Invocation, takes_json
from insula.api.cli.output import remark, show

COLUMNS = ("id", "date", "is_public", "content")


@click.group()
def news() -> None:
    """News for customers."""


@news.command()
@click.argument("content")
@click.option("--public", is_flag=True, help="Show it to people without a login, too.")
@takes_json
@click.pass_obj
def publish(invocation: Invocation, content: str, public: bool) -> None:
    """Tell all customers CONTENT."""
    made = Client(invocation).post("news", {"content": content, "is_public": public})
    show(made, as_json=invocation.json, columns=COLUMNS)


@news.command("list")
@takes_json
@click.pass_obj
def list_news(invocation: Invocation) -> None:
    """Show the news, the newest first."""
    show(Client(invocation).get("news"), as_json=invocation.json, columns=COLUMNS)


@news.command()
@click.argument("number", type=int)
@takes_json
@click.pass_obj
def withdraw(invocation: Invocation, number: int) -> None:
    """Take the news with this NUMBER back."""
    Client(invocation).delete(f"news/{number}")
    if invocation.json:
        show({"id": number}, as_json=True, columns=())
    else:
        remark(f"news {number} withdrawn")
