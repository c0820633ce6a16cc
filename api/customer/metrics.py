"""Reads the measurements of the last 24 hours."""

import time

from insula.api.customer.schemas import SampleOut
from insula.api.models import StoredSample

LIFE_SECONDS = 24 * 3600
MAXIMUM_ROWS = 20_000


def samples_of(subject: str, metric: str | None, since: float) -> list[SampleOut]:
    """The newest measurements of one container or domain, in the order of their time."""
    oldest = max(since, time.time() - LIFE_SECONDS)
    rows = StoredSample.objects.filter(subject=subject, at__gte=oldest).order_by("-at")
    if metric is not None:
        rows = rows.filter(metric=metric)
    found = [
        SampleOut(at=row.at, metric=row.metric, value=row.value) for row in rows[:MAXIMUM_ROWS]
    ]
    return found[::-1]
