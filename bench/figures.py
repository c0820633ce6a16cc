"""Repeated measurements beside each other: medians, spread, ratios; as text, markdown, JSON."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spread:
    """The smallest, the quartiles and the largest of some repeated measurements."""

    count: int
    smallest: float
    low: float
    median: float
    high: float
    largest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Raises ValueError when there is no value."""
        ordered = sorted(values)
        if not ordered:
            raise ValueError("nothing was measured")
        low, median, high = (
            statistics.quantiles(ordered, n=4, method="inclusive")
            if len(ordered) > 1
            else ordered * 3
        )
        return cls(len(ordered), ordered[0], low, median, high, ordered[-1])

    def __str__(self) -> str:
        if self.count == 1:
            return short(self.median)
        return f"{short(self.median)} ({short(self.low)} to {short(self.high)})"


@dataclass
class Board:
    """What was measured: for each figure (``cold start, ms``) the values of each contestant.

    A contestant that could not be measured has a reason in its place, which every output shows.
    """

    baseline: str
    contestants: list[str] = field(default_factory=list)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, figure: str, contestant: str, value: float) -> None:
        self._know(contestant)
        self.values.setdefault(figure, {}).setdefault(contestant, []).append(value)

    def cannot(self, figure: str, contestant: str, reason: str) -> None:
        """Say why there is no value; the first reason stays."""
        self._know(contestant)
        self.values.setdefault(figure, {})
        self.reasons.setdefault(figure, {}).setdefault(contestant, reason)

    def _know(self, contestant: str) -> None:
        if contestant not in self.contestants:
            self.contestants.append(contestant)

    def spread(self, figure: str, contestant: str) -> Spread | None:
        values = self.values.get(figure, {}).get(contestant, [])
        return Spread.of(values) if values else None

    def ratio(self, figure: str, contestant: str) -> float | None:
        """The contestant's median against the baseline's; None when either is missing or not
        above zero, as memory is on a machine that was not quiet."""
        mine, theirs = self.spread(figure, self.baseline), self.spread(figure, contestant)
        if mine is None or theirs is None or mine.median <= 0 or theirs.median <= 0:
            return None
        return theirs.median / mine.median

    def cell(self, figure: str, contestant: str) -> str:
        spread, ratio = self.spread(figure, contestant), self.ratio(figure, contestant)
        if spread is None:
            return "no: see below" if contestant in self.reasons.get(figure, {}) else "-"
        if contestant == self.baseline or ratio is None:
            return str(spread)
        return f"{spread}, ×{ratio:.2f}"

    def rows(self) -> list[list[str]]:
        """The table: a line for each figure, a column for each contestant."""
        head = ["", *self.contestants]
        return [head] + [
            [figure, *(self.cell(figure, name) for name in self.contestants)]
            for figure in self.values
        ]

    def missing(self) -> list[str]:
        """A sentence for each reason, with the figures that it is about."""
        found: dict[tuple[str, str], list[str]] = {}
        for figure, reasons in self.reasons.items():
            for name, reason in reasons.items():
                found.setdefault((name, reason), []).append(figure)
        return [
            f"{name}: {reason} ({'; '.join(figures)})" for (name, reason), figures in found.items()
        ]

    def as_json(self) -> dict[str, object]:
        return {
            "baseline": self.baseline,
            "figures": {
                figure: {name: self._entry(figure, name) for name in self.contestants}
                for figure in self.values
            },
        }

    def _entry(self, figure: str, name: str) -> Mapping[str, object]:
        spread = self.spread(figure, name)
        if spread is None:
            return {"reason": self.reasons.get(figure, {}).get(name, "not measured")}
        return {
            "median": spread.median, "low": spread.low, "high": spread.high,
            "min": spread.smallest, "max": spread.largest, "count": spread.count,
            "ratio": self.ratio(figure, name), "values": self.values[figure][name],
        }  # fmt: skip


MARKS = ("<!-- tables -->", "<!-- /tables -->")


def placed(page: str, tables: str) -> str:
    """The page with the tables between its two marks; the tables alone when it has no marks."""
    before, first, rest = page.partition(MARKS[0])
    _, last, after = rest.partition(MARKS[1])
    if not last:
        return tables
    return f"{before}{first}\n{tables.strip()}\n{last}{after}"


def short(value: float) -> str:
    """Three digits that matter, never an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_text(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
