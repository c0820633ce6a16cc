"""Attaches domains to customers and takes them away."""

import uuid

from django.conf import settings
from django.db import transaction

from insula.api.actions import texts
from insula.api.actions.actor import Actor
from insula.api.actions.change import audit, change
from insula.api.actions.tags import put_tags
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
        if held is not None:
            forget_owner(held)
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


def forget_owner(row: Domain) -> None:
    """Nothing that a former owner wrote about a domain is the next one's business."""
    row.uuid, row.note = uuid.uuid4(), ""
    row.save(update_fields=["uuid", "note"])
    row.tags.clear()


def must_be_free(customer: Customer, name: str) -> str:
    """The name in its one form, if nobody has it and it may be proven. Raises ApiError."""
    name = names.domain(name, path="name")
    _refuse_base_domain(name)
    if Domain.objects.filter(name=name, state="attached").exists():
        raise _taken(name)
    _refuse_overlap(customer, name)
    return name


def describe_domain(
    actor: Actor, number: int, *, note: str | None, tags: tuple[str, ...] | None
) -> Domain:
    """Note something about a domain, or replace its tags. Raises ApiError or InvalidValue."""
    if note is not None:
        texts.note(note, path="note")
    with transaction.atomic():
        row = domain_by_number(actor, number)
        if note is not None:
            row.note = note
            row.save(update_fields=["note"])
        if tags is not None:
            put_tags(row, row.customer_id, tags)
        audit(actor, "describe-domain", row.name)
    return row


def domain_by_number(actor: Actor, number: int) -> Domain:
    """The attached domain if the actor may see it. Raises ApiError: not found."""
    row = Domain.objects.filter(pk=number, state="attached").select_related("container").first()
    if row is None or not actor.may_see(row.customer_id):
        raise not_found(f"domain {number}")
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
