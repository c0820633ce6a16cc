"""Which API is asked, and as whom: the node's own, or one far away with a customer's token."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from insula.api.cli.invocation import Invocation
from insula.vassals.errors import InsulaError, InvalidValue

CONFIG = Path("~/.config/insula/config.toml")
_KEYS = {"url", "token", "ca"}
_TOKEN = re.compile(r"[!-~]{1,256}")


@dataclass(frozen=True, slots=True)
class Access:
    """An API far away."""

    url: str
    token: str | None
    ca: Path | None


def remote(invocation: Invocation, *, config: Path | None = None) -> Access | None:
    """From the options, else from the file; None: the node's own socket. Raises InsulaError."""
    if invocation.url:
        return _checked(invocation.url, invocation.token, invocation.ca, where="--url")
    path = config or CONFIG.expanduser()
    values = _read(path)
    url = values.get("url")
    if url is None:
        return None
    ca = values.get("ca")
    return _checked(
        url,
        invocation.token or values.get("token"),
        invocation.ca or (Path(ca).expanduser() if ca else None),
        where=f"{path}: url",
    )


def _checked(url: str, token: str | None, ca: Path | None, *, where: str) -> Access:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    # Over plain HTTP everyone on the way would read the token before the API can refuse it.
    if not is_address:
        raise InvalidValue(
            f"{where}: {url!r} is no address of an API", "for instance https://api.example.org"
        )
    if token is not None and _TOKEN.fullmatch(token) is None:
        raise InvalidValue("the token is not one of Insula's", "insula customer token makes one")
    return Access(url.rstrip("/"), token, ca)


def _read(path: Path) -> dict[str, str]:
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise InsulaError(f"{path} holds a token and others may read it", f"chmod 600 {path}")
        values = tomllib.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise InsulaError(f"{path}: {error}", "docs/cli.md shows what it may hold") from error
    for key, value in values.items():
        if key not in _KEYS or not isinstance(value, str):
            raise InsulaError(
                f"{path}: {key} is not a setting", "it holds url, token and ca, each a text"
            )
    return values
