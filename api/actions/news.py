"""Tells customers something, and takes it back."""

from django.db import transaction

from insula.api.actions import texts
from insula.api.actions.actor import Actor
from insula.api.actions.change import audit
from insula.api.errors import not_found
from insula.api.models import News
from insula.vassals.errors import InvalidValue


def publish(actor: Actor, content: str, *, is_public: bool) -> News:
    """Tell all customers, and everybody else when it is public; operators only."""
    actor.must_be_operator()
    texts.note(content, path="content")
    if not content.strip():
        raise InvalidValue("content: should not be empty")
    with transaction.atomic():
        row = News.objects.create(content=content, is_public=is_public)
        audit(actor, "publish-news", str(row.pk))
    return row


def withdraw(actor: Actor, number: int) -> None:
    """Take a piece of news back; operators only. Raises ApiError."""
    actor.must_be_operator()
    with transaction.atomic():
        row = News.objects.filter(pk=number).first()
        if row is None:
            raise not_found(f"news {number}")
        row.delete()
        audit(actor, "withdraw-news", str(number))
