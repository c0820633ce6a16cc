"""The node's endpoints: feed, signing keys, report and samples."""

import json
import time
from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from insula.api import faults
from insula.api.actions.facts import record_report, record_samples
from insula.api.doors import Door, door_of
from insula.api.errors import ApiError, Code
from insula.api.models import Revision
from insula.api.node.snapshot import desired_state
from insula.api.node.waker import Waker
from insula.api.problem import problem
from insula.vassals.errors import InsulaError, InvalidValue
from insula.vassals.report import NodeReport, Sample
from insula.vassals.spec import Reader

MAXIMUM_WAIT_SECONDS = 60
MAXIMUM_SAMPLES = 100_000
WAKER = Waker(settings.WAKE_SOCKET)

View = Callable[[HttpRequest], HttpResponse]


def _endpoint(method: str) -> Callable[[View], View]:
    """One method, errors as problems; csrf is no matter where peers are known by the kernel."""

    def wrap(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def endpoint(request: HttpRequest) -> HttpResponse:
            if request.method != method:
                return problem(ApiError(Code.METHOD_NOT_ALLOWED, f"use {method}"))
            try:
                return view(request)
            except InsulaError as error:
                return problem(error)
            except DatabaseError as error:
                storage = faults.refusal(error)
                if storage is None:
                    raise
                return problem(storage)

        return endpoint

    return wrap


def _number(request: HttpRequest, name: str, default: int) -> int:
    try:
        return int(request.GET.get(name, default))
    except ValueError as error:
        raise InvalidValue(f"{name}: should be a whole number") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _json(request: HttpRequest) -> object:
    try:
        return json.loads(request.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidValue("body: is not JSON") from error


@_endpoint("GET")
def feed(request: HttpRequest) -> HttpResponse:
    since = _number(request, "since", -1)
    wait = min(_number(request, "wait", 0), MAXIMUM_WAIT_SECONDS)
    # The operator's door has few threads and serves people: nobody waits there.
    if door_of(request) is not Door.NODE:
        wait = 0
    revision = WAKER.wait_newer(since, wait, Revision.current)
    if revision == since:
        return JsonResponse({"unchanged": True, "revision": revision})
    return JsonResponse(desired_state().to_json())


@_endpoint("GET")
def signing_keys(request: HttpRequest) -> HttpResponse:
    if door_of(request) is not Door.OPERATOR:
        return problem(ApiError(Code.NOT_FOUND, "there is nothing at this address"))
    # Imported late: the node door's process never needs the cipher library.
    from insula.api.actions import customers

    return JsonResponse({"keys": customers.signing_keys()})


@_endpoint("POST")
def report(request: HttpRequest) -> HttpResponse:
    record_report(NodeReport.from_json(_json(request)), now=time.time())
    return HttpResponse(status=204)


@_endpoint("POST")
def samples(request: HttpRequest) -> HttpResponse:
    found = Reader(_json(request), "body").objects("samples", Sample.from_json)
    if len(found) > MAXIMUM_SAMPLES:
        raise InvalidValue(f"body.samples: should be at most {MAXIMUM_SAMPLES}")
    record_samples(found, now=time.time())
    return HttpResponse(status=204)
