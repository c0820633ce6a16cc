"""Puts the customers' API together: routers, errors and the OpenAPI document."""

import logging
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from insula.api import faults
from insula.api.customer import (
    containers,
    customers,
    distros,
    domains,
    news,
    nodes,
    operators,
    users,
)
from insula.api.customer.auth import authenticate
from insula.api.customer.schemas import PingOut
from insula.api.errors import ApiError, Code
from insula.api.problem import problem
from insula.vassals.errors import InsulaError

VERSION = version("insula")
# The code lies in …/releases/<release>/venv/…; empty where it is not installed by a node.
RELEASE = "".join(
    name for parent, name in pairwise(Path(__file__).resolve().parts) if parent == "releases"
)
api = NinjaAPI(title="Insula", version=VERSION, auth=[authenticate], urls_namespace="v1")
api.add_router("", customers.router)
api.add_router("", containers.router)
api.add_router("", domains.router)
api.add_router("", distros.router)
api.add_router("", operators.router)
api.add_router("", users.router)
api.add_router("", news.router)
api.add_router("", nodes.router)
log = logging.getLogger("insula.api")


@api.get("/ping", response=PingOut, auth=None, tags=["platform"])
def ping(request: HttpRequest) -> PingOut:
    """Says that the API is up, and its version."""
    return PingOut(name="insula", version=VERSION, release=RELEASE)


@api.exception_handler(InsulaError)
def refused(request: HttpRequest, error: InsulaError) -> HttpResponse:
    return problem(error)


@api.exception_handler(ValidationError)
def malformed(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [
        {"field": ".".join(str(part) for part in item["loc"][2:]), "detail": str(item["msg"])}
        for item in error.errors
    ]
    first = errors[0] if errors else {"field": "body", "detail": "is not valid"}
    text = f"{first['field'] or 'body'}: {first['detail']}"
    return problem(ApiError(Code.INVALID, text), errors=errors)


@api.exception_handler(HttpError)
def not_json(request: HttpRequest, error: HttpError) -> HttpResponse:
    code = Code.UNAUTHENTICATED if error.status_code == 401 else Code.INVALID
    return problem(ApiError(code, str(error)))


@api.exception_handler(UnreadablePostError)
def unread(request: HttpRequest, error: UnreadablePostError) -> HttpResponse:
    return problem(ApiError(Code.INVALID, "body: did not come in time"))


@api.exception_handler(Http404)
def nothing_here(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(ApiError(Code.NOT_FOUND, "there is nothing at this address"))


@api.exception_handler(Exception)
def broken(request: HttpRequest, error: Exception) -> HttpResponse:
    storage = faults.refusal(error)
    if storage is not None:
        return problem(storage)
    log.error("request-failed %s %s", request.method, request.path, exc_info=error)
    return problem(ApiError(Code.INTERNAL, "the API failed", "its log says why"))
