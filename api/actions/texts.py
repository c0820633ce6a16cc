"""Checks the free texts that customers write: their length, and that they are text."""

import unicodedata

from insula.vassals.errors import InvalidValue

MAXIMUM_LENGTH = 255
MAXIMUM_NOTE_LENGTH = 20_000
_LINE_BREAKS = "\n\r\t"
# Line and paragraph separator, which many programs take for a line's end; half of a pair.
_REFUSED = frozenset({"Cc", "Zl", "Zp", "Cs"})


def line(text: str, *, path: str, is_blank_allowed: bool = True) -> str:
    """Return one line of at most 255 characters, without any control character.

    Raises InvalidValue, naming ``path``.
    """
    if len(text) > MAXIMUM_LENGTH:
        raise InvalidValue(f"{path}: should be at most {MAXIMUM_LENGTH} characters")
    _refuse_control(text, path)
    if not is_blank_allowed and not text.strip():
        raise InvalidValue(f"{path}: should not be empty")
    return text


def note(text: str, *, path: str) -> str:
    """Return a text that may have several lines. Raises InvalidValue, naming ``path``."""
    if len(text) > MAXIMUM_NOTE_LENGTH:
        raise InvalidValue(f"{path}: should be at most {MAXIMUM_NOTE_LENGTH} characters")
    _refuse_control(text, path, allowed=_LINE_BREAKS)
    return text


def _refuse_control(text: str, path: str, allowed: str = "") -> None:
    for letter in text:
        if letter not in allowed and unicodedata.category(letter) in _REFUSED:
            raise InvalidValue(f"{path}: holds a line break or control character")
