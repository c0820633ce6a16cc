"""The node's secrets: made once, and never in place of a lost one that something needs."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from insula.emperor import apidata, credentials
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node, NodeSettings, Paths

NOW = datetime(2026, 11, 21, tzinfo=UTC)
MARKER = "0123456789abcdef"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    # Who owns a file is the kernel tests' matter: here nobody is root.
    monkeypatch.setattr("os.fchown", lambda *_: None)
    monkeypatch.setattr("os.chown", lambda *_, **__: None)
    found = Node(Paths(tmp_path), NodeSettings())
    found.paths.secrets.mkdir(parents=True)
    # Making one takes a second, and nothing here reads it.
    (found.paths.secrets / "api-signing.pem").touch()
    return found


def test_a_second_run_makes_no_secret_anew(node: Node) -> None:
    assert {"secret-key", "key-encryption-key"} <= set(credentials.make(node, now=NOW))
    before = _secrets(node)
    assert not {"secret-key", "key-encryption-key", "default.crt"} & set(
        credentials.make(node, now=NOW)
    )
    assert _secrets(node) == before


def _secrets(node: Node) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in node.paths.api_secrets.iterdir()}


def test_a_lost_key_encryption_key_is_not_made_anew(node: Node) -> None:
    """Customers' private keys would be closed for good, and nobody would know why."""
    credentials.make(node, now=NOW)
    apidata.remember_database(node.paths, credentials.installation(node.paths))
    lost = node.paths.api_secrets / "key-encryption-key"
    lost.unlink()
    with pytest.raises(PreparationError) as caught:
        credentials.make(node, now=NOW)
    assert str(lost) in caught.value.message
    assert "restore it from your backup" in (caught.value.hint or "")
    assert not lost.exists()


def test_before_the_first_database_it_is_made_again(node: Node) -> None:
    credentials.make(node, now=NOW)
    (node.paths.api_secrets / "key-encryption-key").unlink()
    assert "key-encryption-key" in credentials.make(node, now=NOW)


def test_a_lost_name_of_the_database_is_known_from_its_marker(node: Node) -> None:
    credentials.make(node, now=NOW)
    apidata.remember_database(node.paths, MARKER)
    for damage in (b"", b"\xff\x00", b"installation = \n"):
        (node.paths.api_secrets / "api.toml").write_bytes(damage)
        assert credentials.installation(node.paths) == MARKER
