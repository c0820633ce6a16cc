"""What the operators tell their customers."""

from datetime import datetime

from django.http import HttpRequest
from ninja import Router, Schema, Status

from insula.api.actions.news import publish, withdraw
from insula.api.customer.auth import actor_of
from insula.api.customer.schemas import Body
from insula.api.models import News

router = Router(tags=["platform"])
MAXIMUM_ROWS = 100


class NewNews(Body):
    """Public news are shown to people without a login, too."""

    content: str
    is_public: bool = False


class NewsOut(Schema):
    id: int
    content: str
    date: datetime
    is_public: bool


@router.get("/news", response=list[NewsOut])
def list_news(request: HttpRequest) -> list[News]:
    """The newest first, 100 at most."""
    actor_of(request)
    return list(News.objects.all()[:MAXIMUM_ROWS])


@router.post("/news", response={201: NewsOut})
def publish_news(request: HttpRequest, body: NewNews) -> Status[News]:
    """Tell all customers something; operators only."""
    return Status(201, publish(actor_of(request), body.content, is_public=body.is_public))


@router.delete("/news/{number}", response={204: None})
def withdraw_news(request: HttpRequest, number: int) -> Status[None]:
    """Take it back; operators only."""
    withdraw(actor_of(request), number)
    return Status(204, None)
