"""Attaches domains to customers and takes them away."""

from django.conf import settings

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit, change
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Customer, Domain
from insula.vassals import names

MAXIMUM_DOMAINS = 1000
# Detached ones count: the feed keeps them, and must not grow without end.
MAXIMUM_NAMES = 5000


def attach_domain(actor: Actor, customer: Customer, name: str) -> Domain:
    """Give a domain to a customer; twice is once. Raises ApiError or InvalidValue."""
    if not actor.may_see(customer.id):
        raise not_found(f"customer {customer.name}")
    name = names.domain(name, path="name")
    _refuse_base_domain(name)
    with change() as revision:
        held = Domain.objects.filter(name=name).first()
        if held is not None and held.state == "attached":
            if held.customer_id == customer.id:
                return held
            raise _taken(name)
        if not actor.is_operator:
            _refuse_overlap(customer, name)
            if customer.domains.filter(state="attached").count() >= MAXIMUM_DOMAINS:
                raise ApiError(Code.CONFLICT, f"{customer.name} has {MAXIMUM_DOMAINS} domains")
            if held is None and customer.domains.count() >= MAXIMUM_NAMES:
                raise ApiError(
                    Code.CONFLICT,
                    f"{customer.name} has had {MAXIMUM_NAMES} domains, detached ones included",
                    "attach one of them again, or ask an operator",
                )
        row, _ = Domain.objects.update_or_create(
            name=name,
            defaults={
                "customer": customer,
                "container": None,
                "state": "attached",
                "revision": revision,
            },
        )
        audit(actor, "attach-domain", name, customer.name)
    return row


def _taken(name: str) -> ApiError:
    return ApiError(
        Code.DOMAIN_TAKEN,
        f"the domain {name} is taken",
        "its present owner detaches it first",
        field="name",
    )


def _refuse_base_domain(name: str) -> None:
    """Names below the base domain come with containers; a wildcard above it catches them all."""
    base = str(settings.BASE_DOMAIN)
    if name == base or name.endswith("." + base) or base.endswith(name):
        raise ApiError(
            Code.DOMAIN_TAKEN,
            f"{name} belongs to the platform",
            f"create a container of that name: it has NAME.{base} from birth",
            field="name",
        )


def _refuse_overlap(customer: Customer, name: str) -> None:
    """No stranger's wildcard above the name, and no stranger's name below the wildcard."""
    others = Domain.objects.filter(state="attached").exclude(customer=customer)
    if others.filter(name__in=names.wildcards_above(name)).exists():
        raise _taken(name)
    if name.startswith(".") and others.filter(name__endswith=name).exists():
        raise _taken(name)


def find_domain(actor: Actor, name: str) -> Domain:
    """The attached domain if the actor may see it. Raises ApiError: not found."""
    row = Domain.objects.filter(name=name.lower(), state="attached").select_related("customer")
    found = row.first()
    if found is None or not actor.may_see(found.customer_id):
        raise not_found(f"domain {name[:255]}")
    return found


def detach_domain(actor: Actor, name: str) -> Domain:
    """Take a domain from its customer; afterwards anybody may attach it."""
    with change() as revision:
        row = find_domain(actor, name)
        if row.container_id is not None:
            raise ApiError(
                Code.CONFLICT, f"{name} comes with its container", "destroy the container"
            )
        row.state = "detached"
        row.revision = revision
        row.save()
        audit(actor, "detach-domain", row.name)
    return row
