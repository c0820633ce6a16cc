"""Makes the people who may use the operators' pages."""

from django.contrib.auth.models import User
from django.db import transaction

from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.errors import ApiError, Code
from insula.vassals import names


def create_operator(actor: Actor, *, name: str, password: str) -> User:
    """Make an account for the operators' pages, or give an existing one a new password."""
    actor.must_be_operator()
    names.label(name, path="name")
    if len(password) < 12:
        raise ApiError(Code.INVALID, "password: should have 12 characters", field="password")
    with transaction.atomic():
        user, _ = User.objects.get_or_create(
            username=name, defaults={"is_staff": True, "is_superuser": True}
        )
        user.set_password(password)
        user.save()
        audit(actor, "create-operator", name)
    return user
