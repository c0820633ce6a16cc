"""Changes what a customer says about itself: address, company, VAT number, its user's password."""

from dataclasses import dataclass, fields

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from insula.api.actions import texts
from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.actions.users import own_password
from insula.api.models import Customer, User
from insula.vassals.errors import InvalidValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """None: as it is. ``email`` may be several addresses, joined by commas."""

    email: str | None = None
    company: str | None = None
    vat: str | None = None
    password: str | None = None

    def check(self) -> None:
        """Raises InvalidValue, naming the field."""
        for name in ("email", "company", "vat"):
            value = getattr(self, name)
            if value is not None:
                texts.line(value, path=name)
        for address in (self.email or "").split(",") if self.email else []:
            try:
                validate_email(address.strip())
            except ValidationError as error:
                raise InvalidValue(f"email: {address.strip()!r} is no address") from error


def change_account(actor: Actor, user: User, wanted: Account) -> Customer:
    """All fields or none; the new password counts at once. Raises InvalidValue."""
    wanted.check()
    hashed = None if wanted.password is None else own_password(wanted.password)
    with transaction.atomic():
        row = Customer.objects.select_for_update().get(pk=user.customer_id)
        named = [item.name for item in fields(wanted) if getattr(wanted, item.name) is not None]
        for name in named:
            if name != "password":
                setattr(row, name, getattr(wanted, name))
        row.save(update_fields=["email", "company", "vat"])
        if hashed is not None:
            User.objects.filter(pk=user.pk).update(password=hashed)
        if named:
            audit(actor, "change-account", row.name, ", ".join(named))
    return row
