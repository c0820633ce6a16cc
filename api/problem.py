"""Writes every refusal: problem+json (RFC 9457), or below /api/ in the ancestor's own form."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from insula.api.errors import ApiError, Code
from insula.vassals.errors import InsulaError

_OURS = "/api/v1/"
_WIRE = "/api/"
# A bad value; the ancestor's clients know 400, ours 422.
_WIRE_INVALID = 400
_WIRE_TEXTS = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    411: "Length required",
    413: "Request entity too large",
    416: "Requested Range Not Satisfiable",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
    507: "Insufficient storage",
}
RETRY_SECONDS = {Code.BUSY: "1", Code.THROTTLED: "10"}


def refusal(request: HttpRequest, error: InsulaError) -> HttpResponse:
    """The answer for an error, in the form of the door that was asked."""
    is_wire = request.path.startswith(_WIRE) and not request.path.startswith(_OURS)
    return wire_refusal(error) if is_wire else problem(error)


def wire_refusal(error: InsulaError) -> JsonResponse:
    """The ancestor's form: clients look for the key ``error``; ``reason`` says more."""
    code = error.code if isinstance(error, ApiError) else Code.INVALID
    status = error.status if isinstance(error, ApiError) else _WIRE_INVALID
    status = _WIRE_INVALID if code is Code.INVALID else status
    body = {"error": _WIRE_TEXTS.get(status, "Refused"), "reason": error.message}
    if error.hint:
        body["hint"] = error.hint
    answer = JsonResponse(body, status=status)
    if code is Code.UNAUTHENTICATED:
        answer["WWW-Authenticate"] = 'Basic realm="uwsgi.it api"'
    return _with_retry(answer, code)


def problem(error: InsulaError, *, errors: list[dict[str, str]] | None = None) -> JsonResponse:
    """The answer for an error; a bad value of the contract counts as ``invalid``."""
    code = error.code if isinstance(error, ApiError) else Code.INVALID
    status = error.status if isinstance(error, ApiError) else 422
    body: dict[str, object] = {
        "type": "about:blank",
        "title": code.value.replace("-", " "),
        "status": status,
        "code": code.value,
        "detail": error.message,
        "hint": error.hint,
    }
    field = error.field if isinstance(error, ApiError) else None
    if errors or field:
        body["errors"] = errors or [{"field": field, "detail": error.message}]
    answer = JsonResponse(body, status=status, content_type="application/problem+json")
    if code is Code.UNAUTHENTICATED:
        answer["WWW-Authenticate"] = 'Bearer realm="insula"'
    return _with_retry(answer, code)


def _with_retry(answer: JsonResponse, code: Code) -> JsonResponse:
    if code in RETRY_SECONDS:
        answer["Retry-After"] = RETRY_SECONDS[code]
    return answer
