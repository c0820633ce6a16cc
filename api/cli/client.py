"""Talks to the API: over this machine's operator socket, or over HTTPS with a customer's token."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from insula.api.cli import access
from insula.api.cli.invocation import Invocation
from insula.vassals.errors import InsulaError

if TYPE_CHECKING:
    import httpx

OPERATOR_SOCKET = "run/insula/api-operator/api.sock"
LOCAL = "http://operator"
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
            raise self._silence(error) from error
        if not answer.is_success:
            raise _refusal(answer)
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise InsulaError(
                f"{self._http.base_url} does not answer as an API does", "look at --url"
            ) from error

    def _silence(self, error: Exception) -> InsulaError:
        if self._http.base_url == LOCAL:
            return InsulaError(
                f"the node's API does not answer: {error}",
                "insula node status tells whether the node runs; bin/up starts it",
            )
        trust = "CERTIFICATE_VERIFY_FAILED" in str(error)
        return InsulaError(
            f"the API at {self._http.base_url} does not answer: {error}",
            "give --ca FILE with the certificate that its operator gave you"
            if trust
            else "look at --url, and whether that machine can be reached",
        )


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
    found = access.remote(invocation)
    return _connect_local(invocation.root) if found is None else _connect_remote(found)


def _connect_remote(found: access.Access) -> "httpx.Client":
    import ssl

    import httpx

    try:
        verify = ssl.create_default_context(cafile=str(found.ca) if found.ca else None)
    except OSError as error:
        raise InsulaError(
            f"{found.ca}: is no certificate: {error}", "give --ca a file in PEM form"
        ) from error
    headers = {"Authorization": f"Bearer {found.token}"} if found.token else {}
    return httpx.Client(base_url=found.url, headers=headers, verify=verify, timeout=TIMEOUT_SECONDS)


def _connect_local(root: Path) -> "httpx.Client":
    import httpx

    socket = root / OPERATOR_SOCKET
    try:
        socket.stat()
    except PermissionError as error:
        raise ApiRefused(
            403, f"{socket}: only root may talk to the API here",
            "run it as root, or give --url and --token as a customer",
        ) from error  # fmt: skip
    except OSError as error:
        raise InsulaError(
            f"there is no API at {socket}",
            "run bin/up on the node, or give --url https://api.<base domain> and --token",
        ) from error
    transport = httpx.HTTPTransport(uds=str(socket))
    return httpx.Client(
        base_url=LOCAL, transport=transport, timeout=TIMEOUT_SECONDS, trust_env=False
    )
