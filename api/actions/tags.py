"""Makes, renames and deletes tags, and puts them on what a customer has."""

from collections.abc import Sequence

from django.db import transaction

from insula.api.actions import texts
from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.errors import ApiError, Code, not_found
from insula.api.models import Container, Customer, Domain, Loopbox, Tag

MAXIMUM_TAGS = 1000


def create_tag(actor: Actor, customer: Customer, *, name: str, note: str = "") -> Tag:
    """Make a tag; its name is the customer's own. Raises ApiError or InvalidValue."""
    _check_name(name)
    texts.note(note, path="note")
    with transaction.atomic():
        Customer.objects.select_for_update().get(pk=customer.pk)
        _must_be_free(customer, name)
        if customer.tags.count() >= MAXIMUM_TAGS:
            raise ApiError(Code.CONFLICT, f"{customer.name} has {MAXIMUM_TAGS} tags already")
        row = Tag.objects.create(customer=customer, name=name, note=note)
        audit(actor, "create-tag", customer.name, name)
    return row


def change_tag(actor: Actor, number: int, *, name: str | None, note: str | None) -> Tag:
    """Rename a tag or note something about it. Raises ApiError or InvalidValue."""
    if name is not None:
        _check_name(name)
    if note is not None:
        texts.note(note, path="note")
    with transaction.atomic():
        row = find_tag(actor, number)
        Customer.objects.select_for_update().get(pk=row.customer_id)
        if name is not None and name != row.name:
            _must_be_free(row.customer, name)
            row.name = name
        row.note = row.note if note is None else note
        row.save(update_fields=["name", "note"])
        audit(actor, "change-tag", row.customer.name, row.name)
    return row


def delete_tag(actor: Actor, number: int) -> None:
    """Take a tag away; what carried it stays. Raises ApiError."""
    with transaction.atomic():
        row = find_tag(actor, number)
        row.delete()
        audit(actor, "delete-tag", row.customer.name, row.name)


def find_tag(actor: Actor, number: int) -> Tag:
    """The tag if the actor may see it. Raises ApiError: not found."""
    row = Tag.objects.select_related("customer").filter(pk=number).first()
    if row is None or not actor.may_see(row.customer_id):
        raise not_found(f"tag {number}")
    return row


def put_tags(row: Container | Domain | Loopbox, customer_id: int, names: Sequence[str]) -> None:
    """Replace all tags of one object; names that its customer has not are passed over."""
    row.tags.set(Tag.objects.filter(customer_id=customer_id, name__in=names))


def _check_name(name: str) -> None:
    texts.line(name, path="name", is_blank_allowed=False)


def _must_be_free(customer: Customer, name: str) -> None:
    if customer.tags.filter(name=name).exists():
        raise ApiError(Code.CONFLICT, f"there is a tag {name[:64]} already", field="name")
