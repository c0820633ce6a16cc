"""Containers: list, create, show, change, reboot, destroy, measure."""

import threading
import time

from django.http import HttpRequest
from ninja import Router, Status

from insula.api.actions import containers as actions
from insula.api.actions.actor import Actor
from insula.api.customer.auth import actor_of, customer_for
from insula.api.customer.metrics import samples_of
from insula.api.customer.schemas import (
    ChangedOut,
    ContainerOut,
    Limits,
    NewContainer,
    SampleOut,
    container_out,
)
from insula.api.errors import ApiError, Code
from insula.api.models import AppliedState, Container

router = Router(tags=["containers"])
MAXIMUM_WAIT_SECONDS = 60.0
_STEP_SECONDS = 0.03
# The door has six threads: some must stay free for those who do not wait.
_waiting = threading.BoundedSemaphore(4)


def _wanted(body: Limits) -> actions.Wanted:
    values = body.model_dump(exclude={"name", "customer"})
    keys = body.ssh_keys
    return actions.Wanted(**{**values, "ssh_keys": None if keys is None else tuple(keys)})


@router.get("/containers", response=list[ContainerOut])
def list_containers(
    request: HttpRequest, customer: str | None = None, state: str = "running"
) -> list[ContainerOut]:
    """One's own containers; operators see all, or one customer's. ``state=all``: destroyed too."""
    actor = actor_of(request)
    rows = Container.objects.select_related("customer", "applied")
    if customer is not None or not actor.is_operator:
        rows = rows.filter(customer=customer_for(actor, customer))
    if state != "all":
        rows = rows.filter(state=state)
    return [container_out(row) for row in rows]


@router.post("/containers", response={201: ContainerOut})
def create_container(request: HttpRequest, body: NewContainer) -> Status[ContainerOut]:
    """A new container with ``<name>.<base domain>``; operators name the customer."""
    actor = actor_of(request)
    customer = customer_for(actor, body.customer)
    row = actions.create_container(actor, customer, name=body.name, wanted=_wanted(body))
    return Status(201, container_out(row))


@router.get("/containers/{uid}", response=ContainerOut)
def show_container(
    request: HttpRequest, uid: int, wait: float = 0, applied: int | None = None
) -> ContainerOut:
    """One container; with ``wait`` and ``applied`` as soon as the node reported that revision."""
    actor = actor_of(request)
    row = actions.find_container(actor, uid)
    if wait > 0 and not _is_applied(row, applied):
        if not _waiting.acquire(blocking=False):
            raise ApiError(Code.BUSY, "too many requests wait already", "ask again")
        try:
            _wait_applied(row, applied, min(wait, MAXIMUM_WAIT_SECONDS))
        finally:
            _waiting.release()
        row = actions.find_container(actor, uid)
    return container_out(row)


def _is_applied(row: Container, revision: int | None) -> bool:
    wanted = row.revision if revision is None else revision
    return AppliedState.objects.filter(container=row, revision__gte=wanted).exists()


def _wait_applied(row: Container, revision: int | None, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not _is_applied(row, revision) and time.monotonic() < deadline:
        time.sleep(_STEP_SECONDS)


@router.patch("/containers/{uid}", response=ChangedOut)
def change_container(request: HttpRequest, uid: int, body: Limits) -> ChangedOut:
    """Change limits and keys while it runs; distro, hostname, timezone and locale restart it."""
    row, effects = actions.change_container(actor_of(request), uid, _wanted(body))
    return ChangedOut(**container_out(row).model_dump(), effects=effects)


@router.delete("/containers/{uid}", response=ContainerOut)
def destroy_container(request: HttpRequest, uid: int) -> ContainerOut:
    """Stop it and take it away; the uid is never used again."""
    return _shown(actor_of(request), actions.destroy_container(actor_of(request), uid))


@router.post("/containers/{uid}/reboot", response=ContainerOut)
def reboot_container(request: HttpRequest, uid: int) -> ContainerOut:
    """Stop and boot."""
    return _shown(actor_of(request), actions.reboot_container(actor_of(request), uid))


def _shown(actor: Actor, row: Container) -> ContainerOut:
    return container_out(actions.find_container(actor, row.uid))


@router.get("/containers/{uid}/metrics", response=list[SampleOut])
def container_metrics(
    request: HttpRequest, uid: int, metric: str | None = None, since: float = 0
) -> list[SampleOut]:
    """The measurements of the last 24 hours; ``since`` is unix seconds."""
    row = actions.find_container(actor_of(request), uid)
    return samples_of(str(row.uid), metric, since)
