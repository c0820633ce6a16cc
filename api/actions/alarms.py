"""Raises and deletes alarms, and makes the key that raises them. No node sends them on yet."""

import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass, fields

from django.db import transaction

from insula.api.actions import texts
from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.actions.containers import running_container
from insula.api.errors import ApiError, Code
from insula.api.models import Alarm, Container, Notification
from insula.vassals import identity
from insula.vassals.errors import InvalidValue

# Of one container; a new one pushes the oldest out.
MAXIMUM_ALARMS = 100
USER, LOG = 1, 4
# How far a clock may run ahead.
FUTURE_SECONDS = 86_400
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
_MAXIMUM_LINE = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAlarm:
    """What happened; ``color`` may come without its ``#``."""

    msg: str
    unix: int
    level: int = USER
    color: str = "#ffffff"
    kind: str | None = None
    vassal: str | None = None
    filename: str | None = None
    func: str | None = None
    line: int | None = None

    def check(self, *, now: float) -> None:
        """Raises InvalidValue, or ApiError: customers forge no system alarms."""
        if self.level < USER:
            raise ApiError(Code.FORBIDDEN, "level: only nodes raise system alarms", field="level")
        if self.level > LOG:
            raise InvalidValue(f"level: should be from {USER} to {LOG}")
        if not 0 <= self.unix <= now + FUTURE_SECONDS:
            raise InvalidValue("unix: should be seconds since 1970, not of the future")
        if self.line is not None and not 0 <= self.line <= _MAXIMUM_LINE:
            raise InvalidValue(f"line: should be from 0 to {_MAXIMUM_LINE}")
        for name in ("kind", "vassal", "filename", "func"):
            value = getattr(self, name)
            if value is not None:
                texts.line(value, path="class" if name == "kind" else name)


def color_of(text: str) -> str:
    """A colour in its one form, ``#rrggbb``. Raises ApiError or InvalidValue."""
    color = text if text.startswith("#") else f"#{text}"
    if len(color) != 7:
        raise ApiError(Code.CONFLICT, "color: should be #rrggbb", field="color")
    if _COLOR.fullmatch(color) is None:
        raise InvalidValue("color: should be #rrggbb, six hexadecimal digits")
    return color


def raise_alarm(container: Container, alarm: NewAlarm, *, now: float) -> Alarm:
    """Keep an alarm and push the oldest out. Raises ApiError or InvalidValue."""
    alarm.check(now=now)
    values = {item.name: getattr(alarm, item.name) for item in fields(alarm)}
    values["color"] = color_of(alarm.color)
    # PostgreSQL holds no NUL.
    values["msg"] = alarm.msg.replace("\0", "\ufffd")
    with transaction.atomic():
        # Two at once would both count the same hundred.
        Container.objects.select_for_update().get(pk=container.pk)
        row = Alarm.objects.create(container=container, **values)
        kept = Alarm.objects.filter(container=container).values_list("pk", flat=True)
        Alarm.objects.filter(pk__in=list(kept[MAXIMUM_ALARMS:])).delete()
    return row


def delete_alarm(actor: Actor, number: int) -> None:
    """Take an alarm away. Raises ApiError."""
    with transaction.atomic():
        row = find_alarm(actor, number)
        row.delete()
        audit(actor, "delete-alarm", str(row.container.uid), str(number))


def find_alarm(actor: Actor, number: int) -> Alarm:
    """The alarm if the actor may see it. Raises ApiError: forbidden."""
    rows = Alarm.objects.select_related("container").filter(container__state="running")
    row = rows.filter(pk=number).first()
    if row is None or not actor.may_see(row.container.customer_id):
        raise ApiError(Code.FORBIDDEN, f"alarm {number} is none of yours")
    return row


def make_key(actor: Actor, uid: int) -> str:
    """A new key that raises alarms of one container; the old one is refused at once."""
    key = str(uuid.uuid4())
    with transaction.atomic():
        row = running_container(actor, uid)
        found = getattr(row, "notification", None) or Notification(container=row)
        found.alarm_key_sha256 = _sha256(key)
        found.save()
        audit(actor, "make-alarm-key", str(uid))
    return key


def container_of_key(uid: int, key: str) -> Container | None:
    """The running container whose key this is; None for any other."""
    row = Notification.objects.select_related("container").filter(
        container=uid - identity.UID_BASE, container__state="running"
    ).first()  # fmt: skip
    stored = "" if row is None else row.alarm_key_sha256
    is_right = hmac.compare_digest(_sha256(key), stored)
    return row.container if row is not None and is_right else None


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()
