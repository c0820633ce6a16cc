"""Domains: list, attach by a proof in the DNS, describe, take away."""

from django.http import HttpResponse

from insula.api import proof
from insula.api.actions import domains as actions
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Domain
from insula.api.wire.containers import names_of_tags
from insula.api.wire.endpoint import Call, created, done, endpoint, said
from insula.api.wire.fields import query_tags
from insula.vassals import names
from insula.vassals.errors import InvalidValue


def list_domains(call: Call) -> HttpResponse:
    rows = call.customer.domains.filter(state="attached").prefetch_related("tags")
    wanted = query_tags(call.request)
    if wanted is not None:
        tags = call.customer.tags.filter(name__in=wanted)
        rows = rows.filter(pk__in=Domain.tags.through.objects.filter(tag__in=tags).values("domain"))
    listed: list[dict[str, object]] = [_line(row) for row in rows.order_by("id")]
    return said(listed, request=call.request)


def attach_domain(call: Call) -> HttpResponse:
    name = actions.must_be_free(call.customer, _name(call))
    wanted = f"uwsgi:{call.customer.uuid}"
    if not proof.is_proven(name, wanted):
        raise ApiError(
            Code.FORBIDDEN, f"{name} is not proven to be yours",
            f'set the TXT record "{wanted}" on it or on a domain above it',
        )  # fmt: skip
    row = actions.attach_domain(call.actor, call.customer, name)
    return created(call.request, **_whole(row))


def detach_domain(call: Call) -> HttpResponse:
    try:
        name = names.domain(_name(call), path="name")
    except InvalidValue as error:
        raise not_found("such domain of yours") from error
    actions.detach_domain(call.actor, name)
    return done(call.request)


def _name(call: Call) -> str:
    name = call.fields().text("name")
    if name is None:
        raise InvalidValue("name: is missing")
    return name


def show_domain(call: Call, number: str) -> HttpResponse:
    return said(_whole(actions.domain_by_number(call.actor, int(number))), request=call.request)


def describe_domain(call: Call, number: str) -> HttpResponse:
    # Before the body is read: not mine is 404, whatever was sent.
    actions.domain_by_number(call.actor, int(number))
    fields = call.fields()
    row = actions.describe_domain(
        call.actor, int(number), note=fields.text("note"), tags=fields.texts("tags")
    )
    return said(_whole(row), request=call.request)


def delete_domain(call: Call, number: str) -> HttpResponse:
    actions.detach_domain(call.actor, actions.domain_by_number(call.actor, int(number)).name)
    return done(call.request)


def _line(row: Domain) -> dict[str, object]:
    return {
        "id": row.pk,
        "name": row.name,
        "uuid": str(row.uuid),
        "tags": names_of_tags(row),
    }


def _whole(row: Domain) -> dict[str, object]:
    return {**_line(row), "note": row.note}


domains = endpoint(get=list_domains, post=attach_domain, delete=detach_domain)
domain = endpoint(get=show_domain, post=describe_domain, delete=delete_domain)
