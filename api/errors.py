"""The API's errors: each has a stable code that clients may rely on, and its HTTP status.

InsulaError
└── ApiError           code, status, and the field that is wrong where there is one
"""

from enum import StrEnum

from insula.vassals.errors import InsulaError


class Code(StrEnum):
    """The stable codes of problem+json answers."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    HTTPS_ONLY = "https-only"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    CONFLICT = "conflict"
    NAME_TAKEN = "name-taken"
    DOMAIN_TAKEN = "domain-taken"
    TOO_LARGE = "too-large"
    LENGTH_REQUIRED = "length-required"
    BAD_RANGE = "bad-range"
    THROTTLED = "throttled"
    BUSY = "busy"
    TIMED_OUT = "timed-out"
    NO_SPACE = "no-space"
    DATABASE = "database"
    INTERNAL = "internal"


STATUS = {
    Code.INVALID: 422,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.HTTPS_ONLY: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.CONFLICT: 409,
    Code.NAME_TAKEN: 409,
    Code.DOMAIN_TAKEN: 409,
    Code.TOO_LARGE: 413,
    Code.LENGTH_REQUIRED: 411,
    Code.BAD_RANGE: 416,
    Code.THROTTLED: 429,
    Code.BUSY: 503,
    Code.TIMED_OUT: 504,
    Code.NO_SPACE: 507,
    Code.DATABASE: 503,
    Code.INTERNAL: 500,
}


class ApiError(InsulaError):
    """A request that is refused; nothing was changed."""

    def __init__(
        self, code: Code, message: str, hint: str | None = None, *, field: str | None = None
    ) -> None:
        super().__init__(message, hint)
        self.code = code
        self.field = field

    @property
    def status(self) -> int:
        return STATUS[self.code]


def not_found(what: str) -> ApiError:
    """The answer for what does not exist and for what belongs to somebody else: the same."""
    return ApiError(Code.NOT_FOUND, f"there is no {what}", "list what you have")
