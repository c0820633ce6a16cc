"""Figures of a day, and which container answered for which domain today.

The node's samples live for 24 hours: an earlier day is empty. Days are UTC.
"""

import datetime
from collections.abc import Callable

from django.http import HttpResponse
from django.utils.http import http_date

from insula.api.actions.domains import domain_by_number
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Container, Domain, StoredSample
from insula.api.wire.containers import container_of
from insula.api.wire.endpoint import Call, endpoint, said
from insula.api.wire.fields import query_number
from insula.vassals.errors import InvalidValue

TODAY_SECONDS = 300
FINISHED_SECONDS = 24 * 3600
HITS = "insula_domain_requests_total"
_NANOSECONDS = 1_000_000_000
# What the ancestor called them, and what one unit of ours is in its units. It counted memory by
# kind, which a node does not tell apart.
_CONTAINER = {
    "io.read": ("insula_container_io_read_bytes_total", 1),
    "io.write": ("insula_container_io_written_bytes_total", 1),
    "net.rx": ("insula_container_network_received_bytes_total", 1),
    "net.tx": ("insula_container_network_sent_bytes_total", 1),
    "cpu": ("insula_container_cpu_seconds_total", _NANOSECONDS),
    "mem": ("insula_container_memory_working_set_bytes", 1),
    "mem.rss": None,
    "mem.cache": None,
    "quota": ("insula_container_disk_used_bytes", 1),
}
_DOMAIN = {
    "net.rx": ("insula_domain_received_bytes_total", 1),
    "net.tx": ("insula_domain_sent_bytes_total", 1),
    "hits": (HITS, 1),
}


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def container_metric(call: Call, metric: str, uid: str) -> HttpResponse:
    if metric not in _CONTAINER:
        raise not_found(f"metric container.{metric[:64]}")
    row = container_of(call.actor, int(uid))
    return _with_expiry(call, lambda day: _points(str(row.uid), _CONTAINER[metric], day))


def domain_metric(call: Call, metric: str, number: str) -> HttpResponse:
    if metric not in _DOMAIN:
        raise not_found(f"metric domain.{metric[:64]}")
    try:
        row = domain_by_number(call.actor, int(number))
    except ApiError as error:
        raise ApiError(Code.FORBIDDEN, f"domain {number} is none of yours") from error

    def listed(day: datetime.date) -> list[dict[str, object]]:
        points = _points(row.name, _DOMAIN[metric], day)
        answering = _answering(row, _running(row))
        uid = None if answering is None else answering.uid
        return [{"container": uid, "metrics": points}] if points else []

    return _with_expiry(call, listed)


def _with_expiry(
    call: Call, read: Callable[[datetime.date], list[list[int]] | list[dict[str, object]]]
) -> HttpResponse:
    today = now().date()
    day = _day(call, today)
    answer = said(read(day), request=call.request)
    life = TODAY_SECONDS if day >= today else FINISHED_SECONDS
    answer["Expires"] = http_date(now().timestamp() + life)
    answer["Cache-Control"] = f"private, max-age={life}"
    return answer


def _day(call: Call, today: datetime.date) -> datetime.date:
    parts = [query_number(call.request, name) for name in ("year", "month", "day")]
    defaults = (today.year, today.month, today.day)
    year, month, day = (
        default if part is None else part for part, default in zip(parts, defaults, strict=True)
    )
    try:
        return datetime.date(year, month, day)
    except (ValueError, OverflowError) as error:
        raise InvalidValue("year, month, day: are no date") from error


def _points(subject: str, named: tuple[str, int] | None, day: datetime.date) -> list[list[int]]:
    """``[unix, value]`` of one day, in the order of their time."""
    if named is None:
        return []
    metric, factor = named
    start = datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()
    rows = StoredSample.objects.filter(
        subject=subject, metric=metric, at__gte=start, at__lt=start + 24 * 3600
    )
    values = rows.order_by("at", "id").values_list("at", "value")
    return [[int(at), round(value * factor)] for at, value in values]


def _running(row: Domain) -> list[Container]:
    return list(Container.objects.filter(customer_id=row.customer_id, state="running")[:2])


def _answering(row: Domain, running: list[Container]) -> Container | None:
    """The container whose app answers; None when a node's figures do not tell which of several."""
    if row.container is not None:
        return row.container
    return running[0] if len(running) == 1 else None


def container_domains(call: Call, uid: str) -> HttpResponse:
    try:
        container = container_of(call.actor, int(uid))
    except ApiError as error:
        raise not_found(f"container {uid}") from error
    rows = list(Domain.objects.filter(customer=call.customer, state="attached"))
    hit = _hit_today({row.name for row in rows})
    running = list(call.customer.containers.filter(state="running")[:2])
    listed: list[dict[str, object]] = [
        {"id": row.pk, "uuid": str(row.uuid), "name": row.name}
        for row in Domain.objects.filter(pk__in=[row.pk for row in rows if row.name in hit])
        .select_related("container").order_by("id")
        if _answering(row, running) == container
    ]  # fmt: skip
    return said(listed, request=call.request)


def domain_containers(call: Call, number: str) -> HttpResponse:
    row = domain_by_number(call.actor, int(number))
    found = _answering(row, _running(row)) if _hit_today({row.name}) else None
    listed: list[dict[str, object]] = []
    if found is not None:
        name = found.title or found.name
        listed = [{"id": found.pk, "uuid": str(found.uuid), "name": name, "uid": found.uid}]
    return said(listed, request=call.request)


def _hit_today(names: set[str]) -> set[str]:
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    rows = StoredSample.objects.filter(metric=HITS, at__gte=midnight.timestamp(), value__gt=0)
    return names & set(rows.filter(subject__in=names).values_list("subject", flat=True))


of_container = endpoint(get=container_metric)
of_domain = endpoint(get=domain_metric)
domains_of_container = endpoint(get=container_domains)
containers_of_domain = endpoint(get=domain_containers)
