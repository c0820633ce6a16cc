"""Which API is asked and with what: options, the file, and what is refused before it is sent."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from insula.api.cli import access
from insula.api.cli.access import Access
from insula.api.cli.invocation import Invocation
from insula.vassals.errors import InsulaError, InvalidValue
from tests.unit.cli.conftest import FakeApi, Insula

URL = "https://api.example.org"
TOKEN = "insula_pat_secret"


def invocation(**changes: Any) -> Invocation:
    return Invocation(root=Path("/"), json=False, debug=False, **changes)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.touch(mode=0o600)
    return path


def test_without_options_and_file_it_is_the_nodes_own_socket(tmp_path: Path) -> None:
    assert access.remote(invocation(), config=tmp_path / "none") is None


def test_the_file_gives_address_token_and_certificate(config: Path) -> None:
    config.write_text(f'url = "{URL}/"\ntoken = "{TOKEN}"\nca = "/etc/ca.pem"\n')
    assert access.remote(invocation(), config=config) == Access(URL, TOKEN, Path("/etc/ca.pem"))


def test_a_token_given_goes_before_the_files(config: Path) -> None:
    config.write_text(f'url = "{URL}"\ntoken = "old"\n')
    assert access.remote(invocation(token="new"), config=config) == Access(URL, "new", None)


def test_the_files_token_is_never_sent_to_another_address(config: Path) -> None:
    config.write_text(f'url = "{URL}"\ntoken = "{TOKEN}"\n')
    other = access.remote(invocation(url="https://other.example"), config=config)
    assert other == Access("https://other.example", None, None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_may_read_is_refused_with_the_remedy(config: Path, mode: int) -> None:
    config.write_text(f'url = "{URL}"\n')
    config.chmod(mode)
    with pytest.raises(InsulaError, match="others may read it") as caught:
        access.remote(invocation(), config=config)
    assert caught.value.hint == f"chmod 600 {config}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("url = 5", "url is not a setting"),
        ('urll = "x"', "urll is not a setting"),
        ("nonsense", "Expected"),
    ],
)
def test_a_wrong_file_is_named(config: Path, text: str, says: str) -> None:
    config.write_text(text)
    with pytest.raises(InsulaError, match=says) as caught:
        access.remote(invocation(), config=config)
    assert caught.value.message.startswith(str(config))


def test_a_file_that_is_no_text_is_an_error(config: Path) -> None:
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(InsulaError):
        access.remote(invocation(), config=config)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.org",
        "api.example.org",
        "https://",
        "https://[x",
        "https://a:b",
        "file:///x",
    ],
)
def test_only_https_is_an_address(insula: Insula, api: FakeApi, url: str) -> None:
    done = insula("--url", url, "--token", TOKEN, "container", "list")
    assert (done.code, done.out, api.lines) == (2, "", [])
    assert done.err.splitlines()[0] == f"error: --url: {url!r} is no address of an API"


@pytest.mark.parametrize("token", ["", "a b", "a\nX-Evil: 1", "ä", "x" * 300])
def test_a_broken_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        access.remote(invocation(url=URL, token=token))
    assert caught.value.message == "the token is not one of Insula's"


def test_a_token_goes_with_every_request(insula: Insula, api: FakeApi) -> None:
    api.will_answer([])
    insula("--url", URL, "--token", TOKEN, "domain", "list")
    assert str(api.requests[0].url) == f"{URL}/api/v1/domains"
    assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_the_environment_stands_for_the_options(
    insula: Insula, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSULA_URL", URL)
    monkeypatch.setenv("INSULA_TOKEN", TOKEN)
    api.will_answer([])
    insula("domain", "list")
    assert api.requests[0].url.host == "api.example.org"
    assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_the_file_in_the_home_is_found(insula: Insula, api: FakeApi, tmp_path: Path) -> None:
    path = tmp_path / "home/.config/insula/config.toml"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)
    path.write_text(f'url = "{URL}"\n')
    api.will_answer([])
    insula("domain", "list")
    assert api.requests[0].url.host == "api.example.org"


def test_a_ca_that_is_no_certificate_is_named(insula: Insula, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing\n")
    done = insula("--url", URL, "--ca", str(path), "domain", "list")
    assert done.code == 1
    assert done.err.startswith(f"error: {path}: is no certificate")


def test_an_unknown_certificate_points_to_ca(insula: Insula, api: FakeApi) -> None:
    api.silence = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    done = insula("--url", URL, "domain", "list")
    assert done.code == 1
    assert done.err.splitlines()[1].startswith("(give --ca FILE")


def test_a_silent_node_points_to_its_status(insula: Insula, api: FakeApi) -> None:
    api.silence = httpx.ConnectError("refused")
    done = insula("domain", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "error: the node's API does not answer: refused",
        "(insula node status tells whether the node runs; bin/up starts it)",
    ]


def test_without_a_node_it_says_how_to_get_one(insula: Insula, tmp_path: Path) -> None:
    done = insula("--root", str(tmp_path / "none"), "domain", "list")
    assert done.code == 1
    assert done.err.splitlines()[1].startswith("(run bin/up on the node, or give --url")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"{"])
def test_an_address_that_is_no_api_is_said_so(insula: Insula, api: FakeApi, body: bytes) -> None:
    api.will_answer((200, body))
    done = insula("--url", URL, "domain", "list")
    assert done.code == 1
    assert done.err.splitlines()[0] == f"error: {URL} does not answer as an API does"
