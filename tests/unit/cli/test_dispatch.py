"""How the command finds its subcommands, what it loads for that, and its completion scripts."""

import importlib
import sys
from collections.abc import Iterator

import click
import pytest
from click.shell_completion import BashComplete

from insula.api.cli import _HELP, _NODE, Commands, cli
from insula.emperor.cli import NAMES
from tests.unit.cli.conftest import Insula

HEAVY = ("httpx", "rich", "insula.emperor", "django", "cryptography")


def _is_below(name: str, packages: tuple[str, ...]) -> bool:
    return name.startswith(tuple(f"{item}." for item in packages)) or name in packages


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules as in a new process: nothing heavy and nothing of the command is loaded."""
    kept = dict(sys.modules)
    for name in kept:
        if _is_below(name, (*HEAVY, "insula.api")):
            del sys.modules[name]
    yield
    for name in set(sys.modules) - set(kept):
        del sys.modules[name]
    sys.modules.update(kept)
    # An import also sets the name in the parent package.
    for name, module in kept.items():
        parent, _, child = name.rpartition(".")
        if _is_below(name, ("insula",)) and parent in kept:
            setattr(kept[parent], child, module)


def test_help_loads_neither_a_http_client_nor_tables_nor_a_nodes_code(
    fresh: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = importlib.import_module("insula.api.cli")
    with pytest.raises(SystemExit) as left:
        command.main(["--help"])
    assert left.value.code == 0
    assert [name for name in sys.modules if _is_below(name, HEAVY)] == []


def test_a_customers_command_loads_no_code_of_a_node(
    fresh: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = importlib.import_module("insula.api.cli")
    with pytest.raises(SystemExit):
        command.main(["container", "create", "--help"])
    assert [name for name in sys.modules if _is_below(name, ("insula.emperor", "django"))] == []


def test_the_nodes_names_are_those_that_the_node_offers() -> None:
    assert _NODE == NAMES


@pytest.mark.parametrize("name", list(_HELP))
def test_every_listed_command_exists_and_has_help(insula: Insula, name: str) -> None:
    done = insula(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: insula {name}")


def _verbs() -> list[tuple[str, str]]:
    context = click.Context(cli)
    groups = ((name, cli.get_command(context, name)) for name in cli.list_commands(context))
    return [
        (name, verb)
        for name, group in groups
        if isinstance(group, click.Group)
        for verb in group.list_commands(context)
    ]


@pytest.mark.parametrize(("noun", "verb"), _verbs())
def test_every_verb_takes_json_and_a_colon(insula: Insula, noun: str, verb: str) -> None:
    done = insula(f"{noun}:{verb}", "--help")
    assert done.code == 0
    # `node boot` is for the unit and prints nothing.
    assert "--json" in done.out or (noun, verb) == ("node", "boot")


def test_version_is_a_number(insula: Insula) -> None:
    assert insula("version", "--json").json == {"version": insula("version").out.strip()}


@pytest.mark.parametrize(
    ("shell", "marks"),
    [
        ("bash", "complete -o nosort -F _insula_completion insula"),
        ("zsh", "compdef _insula_completion insula"),
        ("fish", "complete --no-files --command insula"),
    ],
)
def test_each_shell_gets_its_completion_script(
    insula: Insula, monkeypatch: pytest.MonkeyPatch, shell: str, marks: str
) -> None:
    # It asks the installed bash for its version, which a unit test may not.
    monkeypatch.setattr(BashComplete, "_check_version", staticmethod(lambda: None))
    done = insula("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert marks in done.out
    assert "_INSULA_COMPLETE" in done.out


def test_another_shell_is_a_usage_error(insula: Insula) -> None:
    assert insula("completion", "csh").code == 2


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("insula cont", {"container"}),
        ("insula container re", {"reboot"}),
        ("insula node do", {"down", "doctor"}),
        ("insula completion f", {"fish"}),
    ],
)
def test_completion_offers_the_commands(
    insula: Insula, monkeypatch: pytest.MonkeyPatch, words: str, offered: set[str]
) -> None:
    monkeypatch.setenv("_INSULA_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    done = insula()
    assert {line.partition(",")[2] for line in done.out.split()} == offered


def test_the_group_finds_nothing_below_a_command() -> None:
    context = click.Context(cli)
    assert isinstance(cli, Commands)
    assert cli.get_command(context, "version:x") is None
