"""A fake API behind the command's HTTP client, and the command run as a person would."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from insula.api.cli import main
from insula.api.cli.client import OPERATOR_SOCKET

Answer = tuple[int, object]
ANN = {
    "id": 1,
    "name": "ann",
    "email": "ann@example.org",
    "created": "2026-01-02T03:04:05Z",
    "public_key_pem": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
}
SHOP_DOMAIN = {
    "name": "shop.example.org",
    "customer": "ann",
    "state": "attached",
    "container": None,
}


def container(**changes: Any) -> dict[str, Any]:
    """A container as the API answers it; ``changes`` replace its fields."""
    return {
        "uid": 30002,
        "customer": "ann",
        "name": "shop",
        "hostname": "shop",
        "domain": "shop.insula.test",
        "address": "10.0.0.4",
        "distro": "default",
        "generation": 1,
        "revision": 7,
        "memory_bytes": 512 << 20,
        "storage_bytes": 2 << 30,
        "cpu_percent": 50,
        "pids_max": 512,
        "ssh_keys": [],
        "state": "running",
        "applied": None,
    } | changes


def applied(**changes: Any) -> dict[str, Any]:
    """What the node says about it."""
    return {
        "revision": 7,
        "at": 100.0,
        "generation": 1,
        "running_since": 99.0,
        "disk_used_bytes": 4096,
        "error": "",
    } | changes


def problem(status: int, detail: str, hint: str | None = None) -> Answer:
    return status, {"code": "x", "title": "x", "status": status, "detail": detail, "hint": hint}


@dataclass
class FakeApi:
    """Answers from a script, the last answer again and again; keeps what it was asked."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    silence: Exception | None = None

    def will_answer(self, *answers: Answer | dict[str, Any] | list[Any]) -> None:
        self.answers = [item if isinstance(item, tuple) else (200, item) for item in answers]

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.silence is not None:
            raise self.silence
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, bytes):
            return httpx.Response(status, content=body)
        return httpx.Response(status, json=body)

    @property
    def lines(self) -> list[str]:
        """``GET /path?query`` of every request."""
        return [f"{item.method} {item.url.raw_path.decode()}" for item in self.requests]

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(item.content) for item in self.requests if item.content]


@dataclass(frozen=True)
class Done:
    """How a run of the command ended."""

    code: int | str | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Insula = Callable[..., Done]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with the place where an operator's socket would be."""
    socket = tmp_path / "root" / OPERATOR_SOCKET
    socket.parent.mkdir(parents=True)
    socket.touch()
    return tmp_path / "root"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Stands at the other end of every HTTP client that is made."""
    fake = FakeApi()
    real = httpx.Client

    def client(**options: Any) -> httpx.Client:
        fake.options = dict(options)
        kept = {name: options[name] for name in ("base_url", "headers") if name in options}
        return real(transport=httpx.MockTransport(fake.handle), **kept)

    monkeypatch.setattr(httpx, "Client", client)
    return fake


@pytest.fixture
def insula(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Insula:
    """Run `insula --root … WORDS`; no settings of the person who runs the tests come in."""
    for name in ("INSULA_ROOT", "INSULA_URL", "INSULA_TOKEN", "INSULA_CA", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def run(*words: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["--root", str(root), *words])
        told = capsys.readouterr()
        return Done(left.value.code, told.out, told.err)

    return run
