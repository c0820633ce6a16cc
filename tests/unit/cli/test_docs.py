"""docs/cli.md: every command and option stands there, and nothing that does not exist."""

import re
from pathlib import Path

import click
import pytest

from insula.api.cli import access, cli
from tests.unit.cli.conftest import Insula

TEXT = (Path(__file__).parents[3] / "docs/cli.md").read_text()
README = (Path(__file__).parents[3] / "README.md").read_text()
_UNSAID = {"--help", "--no-wait", "--started", "--http-port", "--https-port", "--ssh-port"} | {
    "--base-domain", "--network", "--no-demo", "--nightly", "--cached", "--term", "--follow",
    "--lines",
}  # fmt: skip


def _commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found: dict[str, click.Command] = {}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        if not isinstance(command, click.Group):
            found[name] = command
            continue
        for verb in command.list_commands(context):
            below = command.get_command(context, verb)
            if below is not None and not below.hidden:
                found[f"{name} {verb}"] = below
    return found


COMMANDS = _commands()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_stands_in_the_docs(name: str) -> None:
    assert re.search(rf"^\| `insula {name}\b", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_stands_in_the_docs(name: str) -> None:
    options = {
        word
        for item in COMMANDS[name].params
        if isinstance(item, click.Option)
        for word in item.opts
        if word.startswith("--")
    }
    assert {word for word in options - _UNSAID if word not in TEXT} == set()


@pytest.mark.parametrize("text", [TEXT, README], ids=["cli.md", "README"])
def test_every_command_in_the_docs_exists(text: str) -> None:
    nouns = {name.split()[0] for name in COMMANDS}
    for noun, colon, verb in re.findall(r"\binsula ([a-z]+)(?:([ :])([a-z]+))?", text):
        if noun in nouns and colon:
            assert noun in COMMANDS or f"{noun} {verb}" in COMMANDS, f"insula {noun} {verb}"


@pytest.mark.parametrize("code", range(7))
def test_every_exit_status_stands_in_the_docs(code: int) -> None:
    assert re.search(rf"^\| {code} \|", TEXT, re.MULTILINE)


def test_the_operators_page_names_every_option_of_up() -> None:
    page = (Path(__file__).parents[3] / "docs/operator.md").read_text()
    options = {
        word
        for item in COMMANDS["node up"].params
        if isinstance(item, click.Option) and not item.hidden
        for word in item.opts
    }
    assert {word for word in options if word not in page} == set()


def test_the_file_in_the_docs_is_read(insula: Insula, tmp_path: Path) -> None:
    found = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    path = tmp_path / "config.toml"
    path.touch(mode=0o600)
    path.write_text(found[1].replace("…", "x"))
    assert set(access._read(path)) == {"url", "token", "ca"}


ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "pam/README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    folders = "api|bench|bin|collector|configurator|docs|dominator|emperor|pam|tests|vassals"
    named = re.findall(rf"`((?:\./)?(?:{folders})/[A-Za-z0-9_./-]*)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []
