"""The forms that names must have before they reach a file, a path or a packet."""

import re

from insula.vassals.errors import InvalidValue

# What may stand in a vassal file: no percent sign, no newline, no shell character (see grammar.py).
TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Container and customer names are also host names and DNS labels.
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
DNS_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
DOMAIN_LENGTH = 253
# As in the IANA data base: no dot, so no path leads out of the directory of zones.
TIMEZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9][A-Za-z0-9_+-]{0,31}){0,2}")
LOCALE = re.compile(r"C|POSIX|C\.UTF-8|[a-z]{2,3}_[A-Z]{2}(\.[A-Za-z0-9-]{1,16})?(@[a-z]{1,16})?")

# One part of a path: `..`, `./` and `/.` are impossible, and it is no program's option.
HOME_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")
# What the platform keeps in a home.
PLATFORM_DIRECTORIES = frozenset({"etc", "logs", "run", "tmp", "vassals"})


def is_token(text: str) -> bool:
    """True when the text may be a placeholder's value; ``.`` and ``..`` may not."""
    return TOKEN.fullmatch(text) is not None and text not in (".", "..")


def label(text: str, *, path: str) -> str:
    """Return the text if it is a lower-case DNS label of at most 32 characters.

    Raises InvalidValue, naming ``path``.
    """
    if LABEL.fullmatch(text) is None:
        raise InvalidValue(
            f"{path}: {text!r} is not a name",
            "use 1 to 32 of a-z, 0-9 and -, no - at either end",
        )
    return text


def domain(text: str, *, path: str, wildcard: bool = True) -> str:
    """Return the domain in its one stored form: lower case, no final dot, at least two labels.

    A leading dot (``.example.org``) is the wildcard for every name below; it does not stand for
    ``example.org`` itself. International names come in their ``xn--`` form.
    Raises InvalidValue, naming ``path``.
    """
    name = text.strip().lower().removesuffix(".")
    bare = name.removeprefix(".")
    labels = bare.split(".")
    if name.startswith(".") and not wildcard:
        raise InvalidValue(f"{path}: {text!r} is a wildcard", "name one host here")
    if (
        len(bare) > DOMAIN_LENGTH - 1
        or len(labels) < 2
        or any(DNS_LABEL.fullmatch(part) is None for part in labels)
        or labels[-1].isdigit()
    ):
        raise InvalidValue(
            f"{path}: {text!r} is not a domain",
            "for instance shop.example.org, or .example.org for every name below it",
        )
    return name


def home_path(text: str, *, path: str, length: int) -> str:
    """Return the text if it names something below a home: relative, plain, not the platform's own.

    Letters, digits, ``.``, ``_`` and ``-``; no part begins or ends with a dot or begins with ``-``.
    Raises InvalidValue, naming ``path``.
    """
    parts = text.split("/")
    if (
        len(text) > length
        or ".." in text
        or any(HOME_PART.fullmatch(part) is None for part in parts)
        or parts[0] in PLATFORM_DIRECTORIES
    ):
        raise InvalidValue(
            f"{path}: {text[:64]!r} is no path below the home",
            f"at most {length} of A-Z a-z 0-9 . _ - /, and not in "
            + ", ".join(sorted(PLATFORM_DIRECTORIES)),
        )
    return text


def timezone(text: str, *, path: str) -> str:
    """Return the text if it has the form of an IANA time zone. Raises InvalidValue."""
    if TIMEZONE.fullmatch(text) is None:
        raise InvalidValue(f"{path}: {text!r} is not a time zone", "for instance Europe/Rome")
    return text


def locale(text: str, *, path: str) -> str:
    """Return the text if it has the form of a locale's name. Raises InvalidValue."""
    if LOCALE.fullmatch(text) is None:
        raise InvalidValue(
            f"{path}: {text!r} is not a locale", "for instance it_IT.UTF-8, or C.UTF-8"
        )
    return text


def covers(owned: str, wanted: str) -> bool:
    """True when the owner of ``owned`` may announce ``wanted``.

    The exact name, or with a wildcard any name below it, the wildcard itself included.
    """
    if owned == wanted:
        return True
    return owned.startswith(".") and wanted.endswith(owned) and len(wanted) > len(owned)


def wildcards_above(name: str) -> list[str]:
    """The wildcards that cover a name, most specific first: ``a.b.c`` -> ``.b.c``, ``.c``."""
    labels = name.removeprefix(".").split(".")
    start = 0 if name.startswith(".") else 1
    return ["." + ".".join(labels[i:]) for i in range(start, len(labels))]
