"""Writes the vassal file of a container: short, declarative, the same bytes for the same spec."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from insula.vassals import names
from insula.vassals.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class Vassal:
    """The placeholders of one vassal file, all of them tokens of ``names.is_token``."""

    uid: int
    customer_id: int
    hostname: str
    distro: str
    generation: int


def _ini(value: object) -> str:
    """The template filter every value passes: a token, or the rendering fails."""
    text = str(value)
    if not names.is_token(text):
        raise InvalidValue(f"vassal file: {text!r} may not stand in it")
    return text


def vassal_file(vassal: Vassal, *, container_ini: PurePosixPath) -> str:
    """The whole text of ``<uid>.ini``; ``container_ini`` is the node's own file that it includes.

    The API renders it with a node path that the node checks with ``grammar.check``.
    Raises InvalidValue when a value is not a token.
    """
    # Imported late: grammar.py needs this module in daemons that render nothing.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("insula.vassals"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,
    )
    environment.filters["ini"] = _ini
    template = environment.get_template("container.ini.j2")
    return template.render(vassal=vassal, container_ini=str(container_ini))
