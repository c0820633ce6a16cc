"""Who asks: root of the machine through the operator's door, or the owner of a Bearer token."""

from django.http import HttpRequest
from django.utils import timezone

from insula.api.actions.actor import ROOT, Actor
from insula.api.actions.customers import customer_of_token
from insula.api.doors import Door, door_of
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Customer


def authenticate(request: HttpRequest) -> Actor:
    """The actor of a request. Raises ApiError: unauthenticated."""
    if door_of(request) is Door.OPERATOR:
        return ROOT
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    found = customer_of_token(token.strip(), now=timezone.now()) if scheme == "Bearer" else None
    if found is None:
        raise ApiError(
            Code.UNAUTHENTICATED, "no valid token came with the request", "Authorization: Bearer …"
        )
    return Actor(found.name, found)


def actor_of(request: HttpRequest) -> Actor:
    """The actor that ninja kept."""
    actor = getattr(request, "auth", None)
    if not isinstance(actor, Actor):
        raise ApiError(Code.UNAUTHENTICATED, "no valid token came with the request")
    return actor


def customer_for(actor: Actor, name: str | None) -> Customer:
    """The customer that is meant: an operator names one, a customer may only mean itself."""
    if name is None:
        if actor.customer is None:
            raise ApiError(Code.INVALID, "customer: is missing", "name one", field="customer")
        return actor.customer
    row = Customer.objects.filter(name=name).first()
    if row is None or not actor.may_see(row.id):
        raise not_found(f"customer {name[:64]}")
    return row
