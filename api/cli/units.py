"""Sizes and shares as people write them: 512M, 2G, 10Gi, 50%, 0.5."""

import re
from typing import Any

import click

from insula.vassals.spec import MAXIMUM_BYTES

_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Who writes 50 means 50 %, not 50 cores: that many have to be written in per cent.
_MAXIMUM_BARE_PERCENT = 1000
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:(?<=[KMGT])i)?B?", re.IGNORECASE)


class Size(click.ParamType[int]):
    """Bytes, at least ``minimum``; K, M, G and T are powers of 1024."""

    name = "size"

    def __init__(self, minimum: int = 0) -> None:
        self.minimum = minimum

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a size; write 512M or 2G", param, context)
        number = float(found[1]) * _FACTORS[found[2].upper()]
        if not self.minimum <= number <= MAXIMUM_BYTES:
            low, high = size(self.minimum), size(MAXIMUM_BYTES)
            self.fail(f"{value!r} is not between {low} and {high}", param, context)
        return int(number)


class Share(click.ParamType[int]):
    """Per cent of one core: ``50%``, ``0.5`` (of a core) and ``150%``; at least 1 %."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        try:
            percent = float(text[:-1]) if text.endswith("%") else float(text) * 100
        except ValueError:
            percent = 0.0
        if not 1 <= percent <= 100_000:
            self.fail(f"{value!r} is not a share of a core; write 50% or 0.5", param, context)
        if not text.endswith("%") and percent > _MAXIMUM_BARE_PERCENT:
            self.fail(
                f"{value!r} would be {text} cores; write {text}% or {percent:g}%", param, context
            )
        return round(percent)


def size(number: int) -> str:
    """Bytes for people: ``512M``, ``1.5G``."""
    for unit in ("T", "G", "M", "K"):
        if number >= _FACTORS[unit]:
            return f"{number / _FACTORS[unit]:.4g}{unit}"
    return str(number)
