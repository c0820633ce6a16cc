"""A customer who asks the API from outside: over TLS, with a token that lives for minutes."""

import contextlib
import datetime
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from insula.emperor.isolation.arena import ATTACKER, TOKEN, Arena

_MINUTES = 10
_SECONDS = 30.0


@dataclass
class Customer:
    """One connection to ``https://api.<base>`` on this very machine."""

    _connection: http.client.HTTPConnection
    _host: str
    _token: str

    def ask(self, method: str, url: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """The status, and what the answer's JSON says; an answer that is none is empty."""
        payload = None if body is None else json.dumps(body).encode()
        sent = {"Host": self._host, "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json", **headers}  # fmt: skip
        self._connection.request(method, quote(url, safe="/?=&%"), payload, sent)
        answer = self._connection.getresponse()
        data = answer.read()
        try:
            return answer.status, json.loads(data)
        except ValueError:
            return answer.status, {}


@contextlib.contextmanager
def customer(made: Arena) -> Iterator[Customer]:
    """The attacker as a customer of the API; its token is revoked at the end."""
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=_MINUTES)
    place = f"/api/v1/customers/{ATTACKER}/tokens"
    # one that a killed run left, too
    _revoke(made, place)
    token = made.call("POST", place, {"name": TOKEN, "expires": ends.isoformat()})["token"]
    settings = made.node.settings
    connection = _Named(settings.api_domain, settings.https_port)
    try:
        yield Customer(connection, settings.api_domain, token)
    finally:
        connection.close()
        _revoke(made, place)


def _revoke(made: Arena, place: str) -> None:
    for item in made.call("GET", place):
        if item["name"] == TOKEN:
            made.call("DELETE", f"{place}/{item['id']}")


class _Named(http.client.HTTPSConnection):
    """Connects to this machine, whatever DNS says, and asks for a name in the handshake."""

    def __init__(self, name: str, port: int) -> None:
        # the machine's own loopback: nobody stands between, and the certificate may be its own
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE
        super().__init__("127.0.0.1", port, timeout=_SECONDS, context=self._tls)
        self._name = name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)
