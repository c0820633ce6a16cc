"""The forms of requests and answers; what a value may be is decided in the actions."""

from datetime import datetime
from typing import Literal

from ninja import Schema
from pydantic import ConfigDict, StrictInt

from insula.api.models import Container, Customer, Domain


class Body(Schema):
    """A request: unknown fields are errors, so that a typing mistake is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class NewCustomer(Body):
    name: str
    email: str = ""


class NewToken(Body):
    name: str
    expires: datetime | None = None


class NewOperator(Body):
    name: str
    password: str


class OperatorOut(Schema):
    name: str


class Limits(Body):
    memory_bytes: StrictInt | None = None
    storage_bytes: StrictInt | None = None
    cpu_percent: StrictInt | None = None
    pids_max: StrictInt | None = None
    distro: str | None = None
    hostname: str | None = None
    timezone: str | None = None
    locale: str | None = None
    ssh_keys: list[str] | None = None


class NewContainer(Limits):
    name: str
    customer: str | None = None


class NewDomain(Body):
    name: str
    customer: str | None = None


class CustomerOut(Schema):
    id: int
    name: str
    email: str
    created: datetime
    public_key_pem: str


class MeOut(Schema):
    name: str
    is_operator: bool


class TokenOut(Schema):
    """``token`` is shown this once."""

    name: str
    token: str
    expires: datetime | None


class TokenInfo(Schema):
    """A token without its text, which nobody knows."""

    id: int
    name: str
    created: datetime
    expires: datetime | None
    last_used: datetime | None


class AppliedOut(Schema):
    revision: int
    at: float
    generation: int
    running_since: float
    disk_used_bytes: int
    error: str


class ContainerOut(Schema):
    uid: int
    customer: str
    name: str
    hostname: str
    domain: str
    address: str
    distro: str
    generation: int
    revision: int
    memory_bytes: int
    storage_bytes: int
    cpu_percent: int
    pids_max: int
    timezone: str
    locale: str
    ssh_keys: list[str]
    state: str
    applied: AppliedOut | None


class ChangedOut(ContainerOut):
    """``effects`` says for each named field: nothing, live or restart."""

    effects: dict[str, Literal["nothing", "live", "restart"]]


class DomainOut(Schema):
    name: str
    customer: str
    state: str
    container: int | None


class SampleOut(Schema):
    at: float
    metric: str
    value: float


class DistroOut(Schema):
    name: str


class PingOut(Schema):
    """``release`` names the installed code; it changes when an upgrade has been loaded."""

    release: str
    name: str
    version: str


def customer_out(row: Customer) -> CustomerOut:
    return CustomerOut(
        id=row.id,
        name=row.name,
        email=row.email,
        created=row.created,
        public_key_pem=row.public_key_pem,
    )


def container_out(row: Container) -> ContainerOut:
    state = getattr(row, "applied", None)
    applied = None
    if state is not None:
        names = AppliedOut.model_fields
        applied = AppliedOut(**{name: getattr(state, name) for name in names})
    values = {
        name: getattr(row, name)
        for name in ContainerOut.model_fields
        if name not in ("customer", "applied")
    }
    return ContainerOut(customer=row.customer.name, applied=applied, **values)


def domain_out(row: Domain) -> DomainOut:
    return DomainOut(
        name=row.name,
        customer=row.customer.name,
        state=row.state,
        container=None if row.container is None else row.container.uid,
    )
