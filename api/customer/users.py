"""Customers' users: their logins for the ancestor's wire format; operators only."""

from datetime import datetime

from django.http import HttpRequest
from ninja import Router, Schema, Status

from insula.api.actions.users import change_user, create_user
from insula.api.customer.auth import actor_of, customer_for
from insula.api.customer.schemas import Body
from insula.api.models import User

router = Router(tags=["customers"])


class NewUser(Body):
    name: str
    password: str


class UserChange(Body):
    password: str | None = None
    is_active: bool | None = None


class UserOut(Schema):
    name: str
    customer: str
    is_active: bool
    created: datetime


def _user_out(row: User) -> UserOut:
    return UserOut(
        name=row.name, customer=row.customer.name, is_active=row.is_active, created=row.created
    )


@router.get("/customers/{name}/users", response=list[UserOut])
def list_users(request: HttpRequest, name: str) -> list[UserOut]:
    """Who may log in for a customer; operators, and the customer itself."""
    customer = customer_for(actor_of(request), name)
    return [_user_out(row) for row in customer.users.select_related("customer")]


@router.post("/customers/{name}/users", response={201: UserOut})
def make_user(request: HttpRequest, name: str, body: NewUser) -> Status[UserOut]:
    """A new login for a customer; operators only."""
    actor = actor_of(request)
    actor.must_be_operator()
    customer = customer_for(actor, name)
    return Status(201, _user_out(create_user(actor, customer, **body.model_dump())))


@router.patch("/users/{name}", response=UserOut)
def alter_user(request: HttpRequest, name: str, body: UserChange) -> UserOut:
    """A new password, or whether the login works; counts at once; operators only."""
    return _user_out(change_user(actor_of(request), name, **body.model_dump()))
