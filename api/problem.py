"""Writes every refusal as application/problem+json (RFC 9457) with a stable code."""

from django.http import JsonResponse

from insula.api.errors import ApiError, Code
from insula.vassals.errors import InsulaError


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
    if code is Code.BUSY:
        answer["Retry-After"] = "1"
    return answer
