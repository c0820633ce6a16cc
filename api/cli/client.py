"""Talks to the API: over this machine's operator socket, or over HTTPS with a customer's token."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from insula.api.cli.invocation import Invocation
from insula.vassals.errors import InsulaError

if TYPE_CHECKING:
    import httpx

OPERATOR_SOCKET = "run/insula/api-operator/api.sock"
CONFIG = Path("~/.config/insula/config.toml")
TIMEOUT_SECONDS = 75.0  # a request may wait for the node for up to 60
_EXIT_CODES = {401: 3, 403: 3, 404: 4, 409: 5, 412: 5, 422: 2}


class ApiRefused(InsulaError):
    """The API said no; the exit code follows from its status."""

    def __init__(self, status: int, message: str, hint: str | None) -> None:
        super().__init__(message, hint)
        self.status = status
        self.exit_code = _EXIT_CODES.get(status, 1)


class Client:
    """One connection to the API; every method returns decoded JSON or raises InsulaError."""

    def __init__(self, invocation: Invocation) -> None:
        self._http = _connect(invocation)

    def get(self, path: str, **query: object) -> Any:
        chosen = {key: str(value) for key, value in query.items() if value is not None}
        return self._call("GET", path, params=chosen)

    def post(self, path: str, body: dict[str, object] | None = None) -> Any:
        return self._call("POST", path, json=body)

    def patch(self, path: str, body: dict[str, object]) -> Any:
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        try:
            answer = self._http.request(method, f"/api/v1/{path}", **options)
        except httpx.HTTPError as error:
            raise InsulaError(
                f"the API at {self._http.base_url} does not answer: {error}",
                "insula node status tells whether the node runs; bin/up starts it",
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        raise _refusal(answer)


def _refusal(answer: "httpx.Response") -> ApiRefused:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        message = f"the API answered {answer.status_code} {answer.reason_phrase}"
        return ApiRefused(answer.status_code, message, "read the API's log: insula logs 30000")
    detail = str(body.get("detail") or body.get("title") or answer.reason_phrase)
    fields = body.get("errors")
    if isinstance(fields, list):
        told = [f"{item.get('field')}: {item.get('detail')}" for item in fields]
        detail += "".join(f"\n  {text}" for text in told if not text.endswith(f": {detail}"))
    hint = body.get("hint")
    return ApiRefused(answer.status_code, detail, str(hint) if hint else None)


def _connect(invocation: Invocation) -> "httpx.Client":
    import httpx

    url, token, ca = _remote(invocation)
    if url:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        import ssl

        verify = ssl.create_default_context(cafile=str(ca) if ca else None)
        return httpx.Client(base_url=url, headers=headers, verify=verify, timeout=TIMEOUT_SECONDS)
    socket = invocation.root / OPERATOR_SOCKET
    try:
        found = socket.exists()
    except PermissionError as error:
        raise InsulaError(
            f"{socket}: only root may talk to the API here",
            "run it as root, or give --url and --token as a customer",
        ) from error
    if not found:
        raise InsulaError(
            f"there is no API at {socket}",
            "run bin/up on the node, or give --url https://api.<base domain> and --token",
        )
    transport = httpx.HTTPTransport(uds=str(socket))
    return httpx.Client(
        base_url="http://operator", transport=transport, timeout=TIMEOUT_SECONDS, trust_env=False
    )


def _remote(invocation: Invocation) -> tuple[str | None, str | None, Path | None]:
    """Address, token and CA: from the command line, else from the file of ``insula login``."""
    if invocation.url:
        return invocation.url, invocation.token, invocation.ca
    path = CONFIG.expanduser()
    try:
        mode = path.stat().st_mode
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return None, None, None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InsulaError(f"{path}: {error}") from error
    if mode & 0o077:
        raise InsulaError(f"{path} holds a token and others may read it", f"chmod 600 {path}")
    ca = values.get("ca")
    return cast(str | None, values.get("url")), values.get("token"), Path(ca) if ca else None
