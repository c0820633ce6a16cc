"""The list of metrics and its page say the same, in Prometheus' own manners."""

import re
from pathlib import Path

import pytest

from insula.collector.metrics import METRICS, Metric

PAGE = Path(__file__).parents[3] / "docs/metrics.md"


def test_the_page_lists_every_metric_as_the_code_does() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w -]+) \| (.+) \|$", PAGE.read_text(), re.M)
    assert rows == [
        (metric.name, metric.kind, " ".join(metric.labels) or "-", metric.help)
        for metric in METRICS
    ]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_has_our_prefix_and_ends_in_total_if_and_only_if_it_counts(metric: Metric) -> None:
    assert re.fullmatch(r"insula_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")


def test_no_two_metrics_have_the_same_name() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
