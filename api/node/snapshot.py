"""Builds the feed: the whole desired state at one revision."""

import contextlib
from collections.abc import Iterator
from functools import lru_cache

from django.conf import settings
from django.db import connection

from insula.api.models import Container, Customer, Domain, Revision
from insula.vassals.render import Vassal, vassal_file
from insula.vassals.spec import ContainerSpec, CustomerSpec, DesiredState, DomainSpec

# A template takes a millisecond, a feed has a thousand containers, and few of them change.
_vassal_file = lru_cache(maxsize=8192)(vassal_file)


@contextlib.contextmanager
def _one_moment() -> Iterator[None]:
    """A reading transaction: all rows of one revision. Django's own would take the write lock."""
    if connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("BEGIN DEFERRED")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")


def desired_state() -> DesiredState:
    """Every object with its state: what is destroyed or detached stays in as such."""
    with _one_moment():
        revision = Revision.current()
        containers = list(Container.objects.all())
        customers = list(Customer.objects.all())
        domains = list(Domain.objects.all())
    return DesiredState(
        installation=settings.INSTALLATION,
        revision=revision,
        containers=tuple(_container(row) for row in containers),
        customers=tuple(CustomerSpec(row.id, row.name, row.public_key_pem) for row in customers),
        domains=tuple(
            DomainSpec(
                row.name, row.customer_id, "attached" if row.state == "attached" else "detached"
            )
            for row in domains
        ),
    )


def _container(row: Container) -> ContainerSpec:
    vassal = Vassal(
        uid=row.uid,
        customer_id=row.customer_id,
        hostname=row.hostname,
        distro=row.distro,
        generation=row.generation,
    )
    return ContainerSpec(
        uid=row.uid,
        customer_id=row.customer_id,
        name=row.name,
        hostname=row.hostname,
        distro=row.distro,
        generation=row.generation,
        revision=row.revision,
        changed_at=row.changed_at,
        memory_bytes=row.memory_bytes,
        cpu_percent=row.cpu_percent,
        storage_bytes=row.storage_bytes,
        pids_max=row.pids_max,
        ssh_keys=tuple(row.ssh_keys),
        vassal=_vassal_file(vassal, container_ini=settings.CONTAINER_INI),
        state="running" if row.state == "running" else "destroyed",
        timezone=row.timezone,
        locale=row.locale,
    )
