"""Makes, changes, reboots and destroys containers."""

import difflib
import time
import zoneinfo
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal, cast

from django.conf import settings
from django.db import IntegrityError

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit, change
from insula.api.actions.customers import RESERVED
from insula.api.actions.domains import forget_owner
from insula.api.actions.links import release
from insula.api.actions.nodes import must_fit
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Container, Customer, Distro, Domain
from insula.vassals import identity, names, spec
from insula.vassals.errors import InvalidValue

MAXIMUM_CONTAINERS = 200
# Destroyed ones count: no uid is used twice, so one customer could use up all of the platform's.
MAXIMUM_UIDS = 1000
MAXIMUM_SSH_KEYS = 64
_LIMITS = {
    "memory_bytes": (spec.MINIMUM_MEMORY_BYTES, spec.MAXIMUM_BYTES),
    "storage_bytes": (spec.MINIMUM_STORAGE_BYTES, spec.MAXIMUM_BYTES),
    "cpu_percent": (1, 100_000),
    "pids_max": (16, 1 << 22),
}
# A restart is needed for what a booting container is given; the rest is applied to what runs.
_NEED_RESTART = frozenset({"distro", "hostname", "timezone", "locale"})

Effect = Literal["nothing", "live", "restart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Fields of a container as somebody wants them; None: as it is, or the default."""

    memory_bytes: int | None = None
    storage_bytes: int | None = None
    cpu_percent: int | None = None
    pids_max: int | None = None
    distro: str | None = None
    hostname: str | None = None
    timezone: str | None = None
    locale: str | None = None
    ssh_keys: tuple[str, ...] | None = None

    def checked(self) -> dict[str, object]:
        """The fields that are named, each in its one stored form. Raises InvalidValue."""
        found: dict[str, object] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                found[item.name] = _checked(item.name, value)
        return found


def _checked(name: str, value: object) -> object:
    if name in _LIMITS:
        low, high = _LIMITS[name]
        return spec.Reader({name: value}, "container").integer(name, low, high)
    if name == "ssh_keys":
        keys = cast("tuple[str, ...]", value)
        if len(keys) > MAXIMUM_SSH_KEYS:
            raise InvalidValue(f"ssh_keys: should be at most {MAXIMUM_SSH_KEYS} keys")
        return [spec.ssh_key(key, path=f"ssh_keys[{i}]") for i, key in enumerate(keys)]
    if name == "distro":
        return _known_distro(spec.token(str(value), path="distro"))
    if name == "timezone":
        return _known_timezone(names.timezone(str(value), path="timezone"))
    if name == "locale":
        return names.locale(str(value), path="locale")
    return names.label(str(value), path=name)


def _known_distro(name: str) -> str:
    """Raises InvalidValue for a distro that no node has; before the first report all may be."""
    known = set(Distro.objects.values_list("name", flat=True))
    if known and name not in known:
        listed = ", ".join(sorted(known))
        raise InvalidValue(
            f"distro: there is no distro {name}",
            f"there are {listed}; an operator makes one with insula distro build or import",
        )
    return name


def _known_timezone(name: str) -> str:
    """Raises InvalidValue for a zone that is in no IANA list; without one any name may be."""
    known = zones()
    if known and name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise InvalidValue(
            f"timezone: {name} is not one of the IANA's",
            f"perhaps {', '.join(near)}" if near else "for instance Europe/Rome or UTC",
        )
    return name


@lru_cache(maxsize=1)
def zones() -> frozenset[str]:
    """The names of all time zones that this machine knows."""
    return frozenset(zoneinfo.available_timezones())


def create_container(actor: Actor, customer: Customer, *, name: str, wanted: Wanted) -> Container:
    """Make a container and its base-domain name. Raises ApiError or InvalidValue."""
    if not actor.may_see(customer.id):
        raise not_found(f"customer {customer.name}")
    names.label(name, path="name")
    if name in RESERVED:
        raise ApiError(Code.NAME_TAKEN, f"the name {name} is reserved", field="name")
    values = wanted.checked()
    with change() as revision:
        if Container.objects.filter(name=name, state="running").exists():
            raise ApiError(
                Code.NAME_TAKEN, f"the name {name} is taken", "choose another", field="name"
            )
        return add_container(actor, customer, revision, name=name, values=values)


def add_container(
    actor: Actor, customer: Customer, revision: int, *, name: str, values: dict[str, object]
) -> Container:
    """The row and its base-domain name, inside ``change()``; ``values`` are checked ones."""
    if customer.containers.filter(state="running").count() >= MAXIMUM_CONTAINERS:
        raise ApiError(
            Code.CONFLICT,
            f"customer {customer.name} has {MAXIMUM_CONTAINERS} containers already",
            "destroy one that is no longer needed, or ask the operator for another customer",
        )
    if not actor.is_operator and customer.containers.count() >= MAXIMUM_UIDS:
        raise ApiError(
            Code.CONFLICT,
            f"{customer.name} has had {MAXIMUM_UIDS} containers, destroyed ones included",
            "an operator can create more",
        )
    row = Container(
        customer=customer, name=name, revision=revision, changed_at=time.time(),
        **(_defaults(name) | values),
    )  # fmt: skip
    must_fit(row)
    row.save()
    # Both fail when the platform has no number left; the transaction then takes the row back.
    identity.address_of(row.uid, settings.NETWORK)
    _attach_base_domain(row, revision)
    audit(actor, "create-container", str(row.uid), name)
    return row


def _defaults(name: str) -> dict[str, object]:
    return {
        "hostname": name,
        "memory_bytes": spec.DEFAULT_MEMORY_BYTES,
        "storage_bytes": spec.DEFAULT_STORAGE_BYTES,
        "cpu_percent": spec.DEFAULT_CPU_PERCENT,
        "pids_max": spec.DEFAULT_PIDS_MAX,
        "distro": settings.DEFAULT_DISTRO,
        "timezone": spec.DEFAULT_TIMEZONE,
        "locale": spec.DEFAULT_LOCALE,
        "ssh_keys": [],
    }


def _attach_base_domain(row: Container, revision: int) -> None:
    held = Domain.objects.filter(name=row.domain).first()
    if held is not None and held.state == "attached":
        raise ApiError(
            Code.NAME_TAKEN, f"the domain {row.domain} is taken", "choose another", field="name"
        )
    if held is not None:
        forget_owner(held)
    Domain.objects.update_or_create(
        name=row.domain,
        defaults={
            "customer": row.customer,
            "container": row,
            "state": "attached",
            "revision": revision,
        },
    )


def find_container(actor: Actor, uid: int) -> Container:
    """The container if the actor may see it. Raises ApiError: not found."""
    query = Container.objects.select_related("customer", "applied")
    row = query.filter(pk=uid - identity.UID_BASE).first() if uid > identity.API_UID else None
    if row is None or not actor.may_see(row.customer_id):
        raise not_found(f"container {uid}")
    return row


def running_container(actor: Actor, uid: int) -> Container:
    """The container if the actor may see it and it is not destroyed. Raises ApiError."""
    row = find_container(actor, uid)
    if row.state != "running":
        raise ApiError(Code.CONFLICT, f"container {uid} is destroyed", "create a new one")
    return row


def change_container(actor: Actor, uid: int, wanted: Wanted) -> tuple[Container, dict[str, Effect]]:
    """Change what differs; returns for each named field what the change takes."""
    values = wanted.checked()
    row = running_container(actor, uid)
    if all(getattr(row, name) == value for name, value in values.items()):
        return row, dict.fromkeys(values, "nothing")
    with change() as revision:
        row = running_container(actor, uid)
        effects = set_values(row, values)
        if "restart" in effects.values():
            row.generation += 1
        touch(row, revision)
        audit(actor, "change-container", str(uid), ", ".join(sorted(effects)))
    return row, effects


def set_values(row: Container, values: dict[str, object]) -> dict[str, Effect]:
    """Set checked values, inside ``change()``; says what each takes. Raises ApiError."""
    effects: dict[str, Effect] = {}
    before = (row.memory_bytes, row.storage_bytes)
    for name, value in values.items():
        if getattr(row, name) == value:
            effects[name] = "nothing"
            continue
        effects[name] = "restart" if name in _NEED_RESTART else "live"
        setattr(row, name, value)
    # Giving back is always possible, also where too much was promised.
    if row.memory_bytes > before[0] or row.storage_bytes > before[1]:
        must_fit(row)
    return effects


def reboot_container(actor: Actor, uid: int) -> Container:
    """Stop and boot: the next generation."""
    with change() as revision:
        row = running_container(actor, uid)
        row.generation += 1
        touch(row, revision)
        audit(actor, "reboot-container", str(uid))
    return row


def destroy_container(actor: Actor, uid: int) -> Container:
    """Take the container away; its uid is never used again, its name is free at once."""
    with change() as revision:
        row = running_container(actor, uid)
        row.state = "destroyed"
        touch(row, revision)
        row.base_domains.filter(state="attached").update(state="detached", revision=revision)
        release(row)
        audit(actor, "destroy-container", str(uid), row.name)
    return row


def touch(row: Container, revision: int) -> None:
    """Save a container that the node must look at again."""
    row.revision = revision
    row.changed_at = time.time()
    try:
        row.save()
    except IntegrityError as error:
        raise ApiError(Code.CONFLICT, f"container {row.uid} changed meanwhile") from error
