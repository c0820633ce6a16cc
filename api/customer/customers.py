"""Customers, their tokens, and who one is."""

from django.http import HttpRequest
from ninja import Router, Status

from insula.api.actions import customers as actions
from insula.api.customer.auth import actor_of, customer_for
from insula.api.customer.schemas import (
    CustomerOut,
    MeOut,
    NewCustomer,
    NewToken,
    TokenInfo,
    TokenOut,
    customer_out,
)
from insula.api.models import Customer, Token

router = Router(tags=["customers"])


@router.get("/me", response=MeOut)
def me(request: HttpRequest) -> MeOut:
    """Who the token belongs to."""
    actor = actor_of(request)
    return MeOut(name=actor.name, is_operator=actor.is_operator)


@router.get("/customers", response=list[CustomerOut])
def list_customers(request: HttpRequest) -> list[CustomerOut]:
    """All customers; operators only."""
    actor_of(request).must_be_operator()
    return [customer_out(row) for row in Customer.objects.all()]


@router.post("/customers", response={201: CustomerOut})
def create_customer(request: HttpRequest, body: NewCustomer) -> Status[CustomerOut]:
    """A new customer with its key pair; operators only."""
    row = actions.create_customer(actor_of(request), name=body.name, email=body.email)
    return Status(201, customer_out(row))


@router.get("/customers/{name}", response=CustomerOut)
def show_customer(request: HttpRequest, name: str) -> CustomerOut:
    """One customer: oneself, or for operators any."""
    return customer_out(customer_for(actor_of(request), name))


@router.post("/customers/{name}/tokens", response={201: TokenOut})
def create_token(request: HttpRequest, name: str, body: NewToken) -> Status[TokenOut]:
    """A new Bearer token; its text is shown this once."""
    actor = actor_of(request)
    customer = customer_for(actor, name)
    made = actions.create_token(actor, customer, name=body.name, expires=body.expires)
    return Status(201, TokenOut(name=body.name, token=made.token, expires=body.expires))


@router.get("/customers/{name}/tokens", response=list[TokenInfo])
def list_tokens(request: HttpRequest, name: str) -> list[Token]:
    """A customer's tokens, without their texts."""
    return list(Token.objects.filter(customer=customer_for(actor_of(request), name)))


@router.delete("/customers/{name}/tokens/{number}", response=TokenInfo)
def revoke_token(request: HttpRequest, name: str, number: int) -> Token:
    """Revoke a token; it is refused from now on, for good."""
    actor = actor_of(request)
    return actions.revoke_token(actor, customer_for(actor, name), number)
