"""Figures of a day, in the ancestor's names and units."""

import datetime
from email.utils import parsedate_to_datetime

import pytest

from insula.api.models import Domain, Node, StoredSample
from insula.api.wire import metrics
from tests.unit.api.wire.conftest import Browser, make_container

NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "now", lambda: NOON)


def _sample(metric: str, subject: object, value: float, hours: float = 0) -> None:
    at = NOON.timestamp() + hours * 3600
    StoredSample.objects.create(metric=metric, subject=str(subject), value=value, at=at)


@pytest.fixture
def uid(ann: Browser, node: Node) -> int:
    return make_container(ann)


@pytest.mark.parametrize(
    ("name", "metric", "value", "shown"),
    [
        ("io.read", "insula_container_io_read_bytes_total", 5e9, 5_000_000_000),
        ("io.write", "insula_container_io_written_bytes_total", 7, 7),
        ("net.rx", "insula_container_network_received_bytes_total", 1, 1),
        ("net.tx", "insula_container_network_sent_bytes_total", 2, 2),
        ("cpu", "insula_container_cpu_seconds_total", 1.5, 1_500_000_000),
        ("mem", "insula_container_memory_working_set_bytes", 1 << 33, 1 << 33),
        ("quota", "insula_container_disk_used_bytes", 4096, 4096),
    ],
)
def test_a_containers_figures(
    ann: Browser, uid: int, name: str, metric: str, value: float, shown: int
) -> None:
    _sample(metric, uid, value)
    _sample(metric, uid + 1, 99)
    _sample("insula_container_up", uid, 1)
    body = ann.get(f"metrics/container.{name}/{uid}")
    assert body == [[int(NOON.timestamp()), shown]]
    assert type(body[0][1]) is int


def test_points_come_in_the_order_of_their_time(ann: Browser, uid: int) -> None:
    for hours in (-1, -3, -2):
        _sample("insula_container_disk_used_bytes", uid, 10 + hours, hours)
    assert [value for _, value in ann.get(f"metrics/container.quota/{uid}")] == [7, 8, 9]


def test_a_day_is_of_utc_and_may_be_chosen(ann: Browser, uid: int) -> None:
    _sample("insula_container_disk_used_bytes", uid, 1, hours=-12.01)
    _sample("insula_container_disk_used_bytes", uid, 2, hours=-11.99)
    path = f"metrics/container.quota/{uid}"
    assert [value for _, value in ann.get(path)] == [2]
    assert [value for _, value in ann.get(f"{path}?day=20")] == [1]
    assert [value for _, value in ann.get(f"{path}?year=2026&month=11&day=20")] == [1]
    assert ann.get(f"{path}?year=2020") == []


def test_a_finished_day_is_kept_longer_than_today(ann: Browser, uid: int) -> None:
    def life(query: str) -> float:
        answer = ann.call("GET", f"metrics/container.cpu/{uid}{query}")
        return (parsedate_to_datetime(answer.headers["Expires"]) - NOON).total_seconds()

    assert (life(""), life("?day=20")) == (300, 24 * 3600)


@pytest.mark.parametrize(
    "query",
    ["day=32", "day=x", "month=13", "year=0", "year=99999", "day=-1", "year=10000000000000000000"],
)
def test_a_bad_date_is_400(ann: Browser, uid: int, query: str) -> None:
    assert ann.call("GET", f"metrics/container.cpu/{uid}?{query}").status == 400


@pytest.mark.parametrize("path", ["container.nothing/{}", "container.up/{}", "domain.cpu/1"])
def test_another_name_is_404(ann: Browser, uid: int, path: str) -> None:
    assert ann.call("GET", "metrics/" + path.format(uid)).status == 404


def test_a_domains_figures_name_the_container(ann: Browser, bob: Browser, uid: int) -> None:
    row = Domain.objects.get()
    assert ann.get(f"metrics/domain.hits/{row.pk}") == []
    for metric in ("requests", "received_bytes", "sent_bytes"):
        _sample(f"insula_domain_{metric}_total", row.name, 3)
    for name in ("hits", "net.rx", "net.tx"):
        body = ann.get(f"metrics/domain.{name}/{row.pk}")
        assert body == [{"container": uid, "metrics": [[int(NOON.timestamp()), 3]]}]
    answer = bob.call("GET", f"metrics/domain.hits/{row.pk}")
    assert (answer.status, answer.body["error"]) == (403, "Forbidden")


def test_a_figure_of_several_containers_names_none(ann: Browser, uid: int) -> None:
    row = Domain.objects.create(name="example.org", customer=ann.customer)
    _sample("insula_domain_requests_total", row.name, 3)
    assert ann.get(f"metrics/domain.hits/{row.pk}")[0]["container"] == uid
    make_container(ann, "second")
    assert ann.get(f"metrics/domain.hits/{row.pk}")[0]["container"] is None


def test_who_was_hit_today(ann: Browser, uid: int) -> None:
    row = Domain.objects.get()
    assert ann.get(f"containers/{uid}/domains") == []
    assert ann.get(f"domains/{row.pk}/containers") == []
    _sample("insula_domain_requests_total", row.name, 5, hours=-13)
    assert ann.get(f"containers/{uid}/domains") == []
    _sample("insula_domain_requests_total", row.name, 5, hours=-1)
    own = {"id": row.pk, "uuid": str(row.uuid), "name": "shop.insula.test"}
    assert ann.get(f"containers/{uid}/domains") == [own]
    (found,) = ann.get(f"domains/{row.pk}/containers")
    assert (found["id"], found["uid"], found["name"]) == (uid - 30000, uid, "shop")
