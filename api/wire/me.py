"""Who one is, what the operators tell, which distros there are."""

from django.http import HttpResponse

from insula.api.actions.account import Account, change_account
from insula.api.models import Customer, Distro, News
from insula.api.wire.endpoint import Call, endpoint, said
from insula.api.wire.fields import Fields
from insula.vassals import identity
from insula.vassals.errors import InvalidValue

MAXIMUM_NEWS = 10


def show_me(call: Call) -> HttpResponse:
    return said(_customer(call.customer), request=call.request)


def change_me(call: Call) -> HttpResponse:
    fields = call.fields()
    wanted = Account(
        email=fields.text("email"),
        password=fields.text("password"),
        # A client that sends back what it was shown sends null for what was never set.
        company=_text_or_null(fields, "company"),
        vat=_text_or_null(fields, "vat"),
    )
    if wanted.password == "":
        raise InvalidValue("password: should not be empty")
    return said(_customer(change_account(call.actor, call.someone, wanted)), request=call.request)


def _text_or_null(fields: Fields, key: str) -> str | None:
    return None if fields.is_null(key) else fields.text(key)


def _customer(row: Customer) -> dict[str, object]:
    containers = row.containers.filter(state="running").values_list("id", flat=True)
    return {
        "email": row.email,
        "vat": row.vat,
        "company": row.company,
        "uuid": str(row.uuid),
        "containers": [identity.uid_of(number) for number in containers],
        "servers": list(row.nodes.values_list("address", flat=True)),
    }


def list_news(call: Call) -> HttpResponse:
    rows = News.objects.all() if call.user is not None else News.objects.filter(is_public=True)
    listed: list[dict[str, object]] = [
        {"content": row.content, "date": int(row.date.timestamp())} for row in rows[:MAXIMUM_NEWS]
    ]
    return said(listed, request=call.request)


def list_distros(call: Call) -> HttpResponse:
    rows = Distro.objects.order_by("id")
    listed: list[dict[str, object]] = [{"id": row.pk, "name": row.name} for row in rows]
    return said(listed, request=call.request)


me = endpoint(get=show_me, post=change_me)
distros = endpoint(get=list_distros)
