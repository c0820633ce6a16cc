"""Alarms: list with filters and ranges, show, delete, raise with a login or with a key."""

import re
import time

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from insula.api.actions import alarms as actions
from insula.api.errors import ApiError, Code
from insula.api.models import Alarm, Container
from insula.api.wire.containers import container_of
from insula.api.wire.endpoint import Access, Call, created, done, endpoint, said
from insula.api.wire.fields import body_of, query_number, query_text
from insula.api.wire.login import has_credentials, user_of

# Ours and theirs; Python has a word of its own for the third.
_TEXTS = {"vassal": "vassal", "filename": "filename", "func": "func", "class": "kind"}
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_KEY_LENGTH = 36


def list_alarms(call: Call) -> HttpResponse:
    rows = Alarm.objects.select_related("container").filter(
        container__customer=call.customer, container__state="running"
    )
    rows = _filtered(call, rows)
    total = rows.count() if "with_total" in call.request.GET else None
    if "range" in call.request.GET:
        found = _window(rows, call.request.GET["range"])
    else:
        found = list(rows)
    listed: list[dict[str, object]] = [_alarm(row) for row in found]
    if total is None:
        return said(listed, request=call.request)
    return said({"total": total, "alarms": listed}, request=call.request)


def _filtered(call: Call, rows: QuerySet[Alarm]) -> QuerySet[Alarm]:
    """Exact matches; a blank value is no filter."""
    uid = query_number(call.request, "container")
    if uid is not None:
        rows = rows.filter(container=container_of(call.actor, uid))
    for name in ("level", "line"):
        number = query_number(call.request, name)
        if number is not None:
            rows = rows.filter(**{name: number})
    for name, column in _TEXTS.items():
        text = query_text(call.request, name)
        if text:
            rows = rows.filter(**{column: text})
    color = query_text(call.request, "color")
    if color:
        rows = rows.filter(color=actions.color_of(color))
    return rows


def _window(rows: QuerySet[Alarm], text: str) -> list[Alarm]:
    """``N``: the N newest; ``A-B``: from A up to B, 0 is the newest; ``B-A``: the same, turned."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ApiError(Code.BAD_RANGE, f"range: {text[:32]!r} is neither N nor A-B")
    first, second = int(found[1]), found[2]
    if second is None:
        return list(rows[:first])
    low, high = sorted((first, int(second)))
    window = list(rows[low:high])
    return window if first == low else window[::-1]


def show_alarm(call: Call, number: str) -> HttpResponse:
    return said(_alarm(actions.find_alarm(call.actor, int(number))), request=call.request)


def delete_alarm(call: Call, number: str) -> HttpResponse:
    actions.delete_alarm(call.actor, int(number))
    return done(call.request)


def raise_alarm(call: Call, uid: str) -> HttpResponse:
    container = _container(call.request, int(uid))
    now = time.time()
    query = call.request.GET
    level, unix = query_number(call.request, "level"), query_number(call.request, "unix")
    alarm = actions.NewAlarm(
        msg=body_of(call.request).decode(errors="replace"),
        unix=int(now) if unix is None else unix,
        level=actions.USER if level is None else level,
        color=query.get("color") or "#ffffff",
        kind=query.get("class") or None,
        vassal=query.get("vassal") or None,
        filename=query.get("filename") or None,
        func=query.get("func") or None,
        line=query_number(call.request, "line"),
    )
    row = actions.raise_alarm(container, alarm, now=now)
    return created(call.request, id=row.pk)


def _container(request: HttpRequest, uid: int) -> Container:
    """By a login, or without any by the container's own key. Raises ApiError."""
    if has_credentials(request):
        user = user_of(request)
        if user is not None:
            return container_of(Call(request, user).actor, uid)
    else:
        # A header ends in no log, and an address may.
        key = request.headers.get("X-uwsgi-it-alarm-key") or request.GET.get("key", "")
        found = actions.container_of_key(uid, key) if len(key) == _KEY_LENGTH else None
        if found is not None:
            return found
    raise ApiError(Code.UNAUTHENTICATED, "neither a login nor the key of this container came")


def make_key(call: Call, uid: str) -> HttpResponse:
    container = container_of(call.actor, int(uid))
    return done(call.request, alarm_key=actions.make_key(call.actor, container.uid))


def _alarm(row: Alarm) -> dict[str, object]:
    """These keys and no other: a client's page breaks at one that it does not know."""
    return {
        "id": row.pk,
        "container": row.container.uid,
        "level": row.level,
        "color": row.color,
        "class": row.kind,
        "vassal": row.vassal,
        "line": row.line,
        "filename": row.filename,
        "func": row.func,
        "unix": row.unix,
        "msg": row.msg,
    }


alarms = endpoint(get=list_alarms)
alarm = endpoint(get=show_alarm, delete=delete_alarm)
raised = endpoint(post=raise_alarm, access=Access.OWN)
alarm_key = endpoint(get=make_key, post=make_key)
