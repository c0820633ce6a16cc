"""Reads a request of the wire format: its body, whatever its label says, and its query."""

import json
from collections.abc import Mapping
from typing import cast

from django.http import HttpRequest

from insula.api.doors import BODY_LIMIT_BYTES
from insula.api.errors import ApiError, Code
from insula.vassals.errors import InvalidValue

# JavaScript counts no further, and no column overflows when a uid's base is taken away.
_MAXIMUM_NUMBER = 1 << 53


def body_of(request: HttpRequest) -> bytes:
    """The raw body. Raises ApiError: too large, or sent in chunks that say no length."""
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise ApiError(Code.LENGTH_REQUIRED, "a body without Content-Length is not read")
    try:
        data = request.read(BODY_LIMIT_BYTES + 1)
    except OSError as error:
        raise InvalidValue("body: did not come in time") from error
    if len(data) > BODY_LIMIT_BYTES:
        raise ApiError(Code.TOO_LARGE, f"the body is larger than {BODY_LIMIT_BYTES} bytes")
    return data


class Fields:
    """One JSON object. Keys that nobody asks for are passed over, as the ancestor did.

    Every method answers None for a key that is missing, and raises InvalidValue for a value of
    another type; null counts as a value.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    @classmethod
    def of(cls, request: HttpRequest) -> "Fields":
        """Raises InvalidValue when the body is no JSON object."""
        try:
            found = json.loads(body_of(request), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidValue("body: is not JSON") from error
        if not isinstance(found, dict):
            raise InvalidValue("body: should be a JSON object")
        return cls(found)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def is_null(self, key: str) -> bool:
        return key in self.values and self.values[key] is None

    def text(self, key: str) -> str | None:
        if key not in self.values:
            return None
        value = self.values[key]
        if not isinstance(value, str):
            raise InvalidValue(f"{key}: should be text")
        return _storable(value, key)

    def number(self, key: str) -> int | None:
        """A whole number, as a number or as digits."""
        if key not in self.values:
            return None
        return whole_number(self.values[key], path=key)

    def flag(self, key: str) -> bool | None:
        if key not in self.values:
            return None
        value = self.values[key]
        if not isinstance(value, bool):
            raise InvalidValue(f"{key}: should be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        if key not in self.values:
            return None
        value = self.values[key]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InvalidValue(f"{key}: should be a list of texts")
        return tuple(_storable(item, key) for item in cast("list[str]", value))


def _storable(text: str, path: str) -> str:
    """JSON can hold half of a surrogate pair and NUL, which no database can."""
    if "\0" in text or text.encode(errors="replace").decode() != text:
        raise InvalidValue(f"{path}: holds a character that is none")
    return text


def whole_number(value: object, *, path: str) -> int:
    """A whole number of at most 2^53. Raises InvalidValue, naming ``path``."""
    if isinstance(value, str) and len(value) < 20 and value.isascii():
        digits = value.removeprefix("-")
        value = int(value) if digits.isdigit() else value
    if type(value) is not int or abs(value) > _MAXIMUM_NUMBER:
        raise InvalidValue(f"{path}: should be a whole number")
    return value


def query_number(request: HttpRequest, name: str) -> int | None:
    """A whole number of the query; None when it is missing or blank. Raises InvalidValue."""
    text = request.GET.get(name, "")
    return None if text == "" else whole_number(text, path=name)


def query_tags(request: HttpRequest) -> list[str] | None:
    """The names after ``?tags=``, joined by commas; None without any."""
    names = [name for name in query_text(request, "tags").split(",") if name]
    return names or None


def query_text(request: HttpRequest, name: str) -> str:
    """A text of the query, empty when it is missing. Raises InvalidValue."""
    return _storable(request.GET.get(name, ""), name)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
