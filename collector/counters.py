"""Keeps counters growing although what they count starts again or goes away."""

Series = tuple[str, str]  # metric, subject
Origin = tuple[object, ...]
KEPT_ROUNDS = 100


class Totals:
    """Sums over the origins of a series, for instance the apps of a domain in each router process.

    An origin that counts from zero again adds its new value; one that is gone keeps what it gave.
    """

    def __init__(self) -> None:
        self._round = 0
        self._total: dict[Series, tuple[float, int]] = {}
        self._last: dict[tuple[Series, Origin], tuple[float, int]] = {}

    def add(self, series: Series, value: float, *, origin: Origin = ()) -> float:
        """Take one origin's counter and return the series' total."""
        key = (series, origin)
        last = self._last[key][0] if key in self._last else 0.0
        self._last[key] = (value, self._round)
        total = self.total(series) + (value - last if value >= last else value)
        self._total[series] = (total, self._round)
        return total

    def total(self, series: Series) -> float:
        """What all origins gave so far."""
        total = self._total[series][0] if series in self._total else 0.0
        self._total[series] = (total, self._round)
        return total

    def end_round(self) -> None:
        """Forget what was not asked for in KEPT_ROUNDS rounds, so that memory stays bounded.

        Not at once: an origin that only failed to answer would be counted twice.
        """
        self._round += 1
        oldest = self._round - KEPT_ROUNDS
        if self._round % KEPT_ROUNDS == 0:
            self._last = {key: item for key, item in self._last.items() if item[1] >= oldest}
            self._total = {key: item for key, item in self._total.items() if item[1] >= oldest}
