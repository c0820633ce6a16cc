"""Makes customers' users, who log in to the ancestor's wire format with a password."""

import re

from django.contrib.auth.hashers import make_password
from django.db import transaction

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Customer, User
from insula.vassals.errors import InvalidValue

MAXIMUM_USERS = 100
MINIMUM_PASSWORD_LENGTH = 12
MAXIMUM_PASSWORD_LENGTH = 255
# No colon: Basic ends the name there.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")


def create_user(actor: Actor, customer: Customer, *, name: str, password: str) -> User:
    """Make a user of a customer; operators only. Raises ApiError or InvalidValue."""
    actor.must_be_operator()
    if _NAME.fullmatch(name) is None:
        raise InvalidValue(
            f"name: {name[:64]!r} is not a login name", "use 1 to 64 of A-Z a-z 0-9 . _ @ + -"
        )
    hashed = _hashed(password, minimum=MINIMUM_PASSWORD_LENGTH)
    with transaction.atomic():
        if User.objects.filter(name=name).exists():
            raise ApiError(Code.NAME_TAKEN, f"there is a user {name}", field="name")
        if customer.users.count() >= MAXIMUM_USERS:
            raise ApiError(Code.CONFLICT, f"{customer.name} has {MAXIMUM_USERS} users already")
        row = User.objects.create(customer=customer, name=name, password=hashed)
        audit(actor, "create-user", name, customer.name)
    return row


def change_user(
    actor: Actor, name: str, *, password: str | None = None, is_active: bool | None = None
) -> User:
    """Give a new password, lock out or let in again; operators only. Raises ApiError."""
    actor.must_be_operator()
    hashed = None if password is None else _hashed(password, minimum=MINIMUM_PASSWORD_LENGTH)
    with transaction.atomic():
        row = User.objects.select_for_update().filter(name=name).first()
        if row is None:
            raise not_found(f"user {name[:64]}")
        if hashed is not None:
            row.password = hashed
        if is_active is not None:
            row.is_active = is_active
        row.save(update_fields=["password", "is_active"])
        named = [text for text, value in _named(password, is_active) if value is not None]
        audit(actor, "change-user", name, ", ".join(named))
    return row


def _named(password: str | None, is_active: bool | None) -> list[tuple[str, object]]:
    return [("password", password), (f"is_active={is_active}", is_active)]


def own_password(password: str) -> str:
    """The hash of a password that a customer chose: slow, so never inside a transaction.

    The ancestor's clients send short ones, so any will do that is not empty. Raises InvalidValue.
    """
    return _hashed(password, minimum=1)


def _hashed(password: str, *, minimum: int) -> str:
    if not minimum <= len(password) <= MAXIMUM_PASSWORD_LENGTH:
        raise InvalidValue(
            f"password: should have {minimum} to {MAXIMUM_PASSWORD_LENGTH} characters"
        )
    try:
        password.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue("password: should be text that UTF-8 can hold") from error
    return make_password(password)
