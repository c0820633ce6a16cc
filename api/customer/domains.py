"""Domains: list, attach, detach, measure."""

from django.http import HttpRequest
from ninja import Router, Status

from insula.api.actions import domains as actions
from insula.api.customer.auth import actor_of, customer_for
from insula.api.customer.metrics import samples_of
from insula.api.customer.schemas import DomainOut, NewDomain, SampleOut, domain_out
from insula.api.models import Domain

router = Router(tags=["domains"])


@router.get("/domains", response=list[DomainOut])
def list_domains(request: HttpRequest, customer: str | None = None) -> list[DomainOut]:
    """One's own attached domains; operators see all, or one customer's."""
    actor = actor_of(request)
    rows = Domain.objects.select_related("customer", "container").filter(state="attached")
    if customer is not None or not actor.is_operator:
        rows = rows.filter(customer=customer_for(actor, customer))
    return [domain_out(row) for row in rows]


@router.post("/domains", response={201: DomainOut})
def attach_domain(request: HttpRequest, body: NewDomain) -> Status[DomainOut]:
    """Attach a domain; a leading dot stands for every name below it."""
    actor = actor_of(request)
    customer = customer_for(actor, body.customer)
    return Status(201, domain_out(actions.attach_domain(actor, customer, body.name)))


@router.delete("/domains/{name}", response=DomainOut)
def detach_domain(request: HttpRequest, name: str) -> DomainOut:
    """Detach a domain; its traffic stops."""
    return domain_out(actions.detach_domain(actor_of(request), name))


@router.get("/domains/{name}/metrics", response=list[SampleOut])
def domain_metrics(
    request: HttpRequest, name: str, metric: str | None = None, since: float = 0
) -> list[SampleOut]:
    """The measurements of the last 24 hours; ``since`` is unix seconds."""
    row = actions.find_domain(actor_of(request), name)
    return samples_of(row.name, metric, since)
