"""One address of the wire format: who asks, which method, CORS, and errors in its form."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from insula.api import faults
from insula.api.actions.actor import Actor
from insula.api.errors import ApiError, Code
from insula.api.models import Customer, User
from insula.api.problem import wire_refusal
from insula.api.wire.fields import Fields
from insula.api.wire.login import user_of
from insula.vassals.errors import InsulaError

Json = dict[str, object] | list[dict[str, object]] | list[list[int]]
Handler = Callable[..., HttpResponse]
View = Callable[..., HttpResponse]
_METHODS = "GET,POST,DELETE,OPTIONS"
_HEADERS = "X-uwsgi-it-username,X-uwsgi-it-password"


class Access(Enum):
    """Who may ask: a user; anybody, and users see more; whoever the handler lets."""

    USER = "user"
    ANYBODY = "anybody"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Call:
    """One request and who sent it; ``user`` is None where nobody needs to log in."""

    request: HttpRequest
    user: User | None

    @property
    def someone(self) -> User:
        """The user. Raises ApiError: unauthenticated."""
        if self.user is None:
            raise ApiError(Code.UNAUTHENTICATED, "no valid login came with the request")
        return self.user

    @property
    def customer(self) -> Customer:
        return self.someone.customer

    @property
    def actor(self) -> Actor:
        user = self.someone
        return Actor(f"{user.customer.name}/{user.name}"[:64], user.customer)

    def fields(self) -> Fields:
        """The JSON object that came. Raises InvalidValue or ApiError."""
        return Fields.of(self.request)


def endpoint(
    *,
    get: Handler | None = None,
    post: Handler | None = None,
    delete: Handler | None = None,
    access: Access = Access.USER,
) -> View:
    """The view of one address; a method without a handler is 405, after the login."""
    named = {"GET": get, "POST": post, "DELETE": delete}
    handlers = {method: found for method, found in named.items() if found is not None}
    has_cors = access is not Access.ANYBODY

    @csrf_exempt
    def view(request: HttpRequest, **words: str) -> HttpResponse:
        if request.method == "OPTIONS" and has_cors:
            answer = HttpResponse()
            answer["Access-Control-Allow-Methods"] = _METHODS
            answer["Access-Control-Allow-Headers"] = _HEADERS
        else:
            answer = _answer(request, handlers, access, words)
        if has_cors:
            _allow_origin(request, answer)
        if "Cache-Control" not in answer:
            # A login by headers of our own does not tell shared caches to keep their hands off.
            answer["Cache-Control"] = "no-store"
        return answer

    return view


def _answer(
    request: HttpRequest, handlers: dict[str, Handler], access: Access, words: dict[str, str]
) -> HttpResponse:
    try:
        user = _user(request, access)
        handler = handlers.get(request.method or "")
        if handler is None:
            error = ApiError(Code.METHOD_NOT_ALLOWED, f"use {' or '.join(handlers)}")
            refused = wire_refusal(error)
            refused["Allow"] = ", ".join(handlers)
            return refused
        return handler(Call(request, user), **words)
    except InsulaError as error:
        return wire_refusal(error)
    except DatabaseError as error:
        storage = faults.refusal(error)
        if storage is None:
            raise
        return wire_refusal(storage)


def _user(request: HttpRequest, access: Access) -> User | None:
    if access is Access.OWN:
        return None
    try:
        user = user_of(request)
    except ApiError:
        if access is Access.ANYBODY:
            return None
        raise
    if user is None and access is Access.USER:
        raise ApiError(Code.UNAUTHENTICATED, "no valid login came with the request")
    return user


def _allow_origin(request: HttpRequest, answer: HttpResponse) -> None:
    """Say which pages may read the answer; never with credentials that a browser keeps."""
    allowed = settings.CHOICES.allowed_origins
    if "*" in allowed:
        answer["Access-Control-Allow-Origin"] = "*"
        return
    patch_vary_headers(answer, ["Origin"])
    origin = request.headers.get("Origin")
    if origin in allowed:
        answer["Access-Control-Allow-Origin"] = origin


def said(value: Json, *, request: HttpRequest, status: int = 200) -> HttpResponse:
    """An answer in JSON; people at a terminal get the line's end that they miss."""
    answer = JsonResponse(value, safe=False, status=status)
    if "curl/" in request.headers.get("User-Agent", ""):
        answer.content += b"\n"
    return answer


# What the ancestor's nodes did, and ours do not yet: never answered as done.
NOT_APPLIED: dict[str, object] = {"state": "stored", "state_reason": "no node does this yet"}


def done(request: HttpRequest, **more: object) -> HttpResponse:
    return said({"message": "Ok", **more}, request=request)


def created(request: HttpRequest, **more: object) -> HttpResponse:
    return said({"message": "Created", **more}, request=request, status=201)
