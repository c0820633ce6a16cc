"""Writes the threat model into SECURITY.md: `python -m insula.emperor.isolation.document FILE`."""

import sys
from itertools import groupby
from pathlib import Path

from insula.emperor.isolation.threats import THREATS
from insula.emperor.isolation.walls import WALLS
from insula.vassals.errors import InsulaError

BEGIN, END = "<!-- threats: begin -->", "<!-- threats: end -->"
_ATTACKS = "| attack | walls in its way | probe |\n|---|---|---|"
_WALLS = "| wall | what it is | enforced in |\n|---|---|---|"


def tables() -> str:
    """The threats, boundary by boundary, and the walls, as Markdown."""
    parts = []
    for boundary, threats in groupby(THREATS, key=lambda threat: threat.boundary):
        rows = "\n".join(
            f"| {item.attack} | {', '.join(item.walls)} | `{item.name}` |" for item in threats
        )
        title = boundary[0].upper() + boundary[1:]
        parts.append(
            f"### {title}\n\n| attack | walls in its way | probe |\n|---|---|---|\n{rows}\n"
        )
    walls = "\n".join(
        f"| {wall.name} | {wall.statement} | {_code(wall.enforced_in)} |" for wall in WALLS.values()
    )
    parts.append(f"### The walls\n\n{_WALLS}\n{walls}\n")
    return "\n".join(parts)


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def rewritten(text: str) -> str:
    """The document with today's tables between its two marks. Raises InsulaError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InsulaError(f"the document has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{tables()}{END}{after}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(rewritten(document.read_text()))
