"""`insula logs UID`: the sub-Emperor's log, read inside the container as the container itself."""

import click

from insula.emperor.cli.enter import run_inside
from insula.emperor.settings import Node
from insula.vassals import identity

LOG = "logs/emperor.log"


@click.command()
@click.argument("uid")
@click.option("--follow", "-f", is_flag=True, help="Wait for more lines.")
@click.option(
    "--lines", "-n", type=click.IntRange(0, 100_000), default=50, show_default=True,
    help="How many of the last lines.",
)  # fmt: skip
@click.pass_obj
def logs(node: Node, uid: str, follow: bool, lines: int) -> None:
    """Show the last lines of container UID's own log, ~/logs/emperor.log."""
    run_inside(node, identity.parse_uid(uid), tail(lines, follow=follow), term="dumb")


def tail(lines: int, *, follow: bool) -> list[str]:
    """The command that runs inside: the log lies in a directory where its customer may put a link,
    so root never opens it by its path. The distro's tail: ~/bin comes first in the PATH.
    """
    # -F opens the file anew after a rotation, -f would go on with the old one.
    return ["/usr/bin/tail", "-n", str(lines), *(["-F"] if follow else []), "--", LOG]
