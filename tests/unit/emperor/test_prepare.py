"""Tokens of the shipped files: replaced all, unknown ones refused, no value can break out."""

from pathlib import Path

import pytest

from insula.emperor import prepare
from insula.emperor.errors import PreparationError
from insula.emperor.settings import Node, NodeSettings, Paths

NODE = Node(Paths(Path("/srv/one")), NodeSettings())


def values(node: Node = NODE) -> dict[str, str]:
    return prepare.tokens(node, venv=Path("/srv/one/venvs/abc"), cpu_count=2)


def test_every_shipped_file_has_known_tokens_only() -> None:
    package = prepare.shipped()
    sources = prepare._others(package) + prepare._services(package)
    assert len(sources) >= 4
    for name, _, source in sources:
        if name.endswith(".ini"):
            assert "@" not in prepare.replaced(source.read_text(), values(), name=name)


def test_an_unknown_token_is_named() -> None:
    with pytest.raises(PreparationError, match="x.ini: @secret@ is not a token"):
        prepare.replaced("a = @secret@", values(), name="x.ini")


def test_tokens_are_replaced_with_the_nodes_own_paths() -> None:
    text = prepare.replaced("@etc@/a @http_port@ @router_uid@", values(), name="x")
    assert text == "/srv/one/etc/insula/a 80 29991"


@pytest.mark.parametrize("root", ["/srv/a%b", "/srv/a b", "/srv/a\nexec:b", "/srv/$(id)"])
def test_a_root_that_uwsgi_would_interpret_is_refused(root: str) -> None:
    with pytest.raises(PreparationError, match="cannot stand in a uWSGI file"):
        values(Node(Paths(Path(root)), NodeSettings()))


def test_the_daemons_file_changes_with_the_environment() -> None:
    other = prepare.tokens(NODE, venv=Path("/srv/one/venvs/def"), cpu_count=2)
    text = (prepare.shipped() / "services/daemons.ini").read_text()
    assert prepare.replaced(text, values(), name="d") != prepare.replaced(text, other, name="d")


def test_the_file_that_waits_for_the_next_start_names_no_environment_of_today() -> None:
    text = (prepare.shipped() / "services/containers.ini").read_text()
    written = prepare.replaced(text, values(), name="containers.ini")
    assert "/venvs/" not in written
    assert f"{NODE.paths.venv}/bin/insula-configurator" in written
