"""How output looks: tables, no colour where none is wanted, no foreign escape sequence."""

import io
from contextlib import redirect_stdout

import pytest

from insula.api.cli.output import facts, show

ROWS = [{"name": "shop", "container": 30002}, {"name": "blog", "container": None}]


class Terminal(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal with colours; a test writes to it with redirect_stdout."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def test_a_table_has_a_row_for_each_object(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, as_json=False, columns=("name", "container"))
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row for row in cells if row and "─" not in row[0]] == [
        ["name", "container"],
        ["shop", "30002"],
        ["blog"],
    ]


def test_a_pipe_gets_no_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, as_json=False, columns=("name", "container"))
    assert "\x1b" not in capsys.readouterr().out


def test_a_pipe_never_folds_a_long_name(capsys: pytest.CaptureFixture[str]) -> None:
    show({"name": "n" * 150}, as_json=False, columns=("name",))
    assert "n" * 150 in capsys.readouterr().out


def test_a_terminal_gets_a_bold_head(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        show(ROWS, as_json=False, columns=("name",))
    assert "\x1b[1m" in terminal.getvalue()


def test_no_color_takes_every_escape_away(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stdout(terminal):
        show(ROWS, as_json=False, columns=("name",))
    assert "shop" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()


def test_json_is_the_same_on_a_terminal(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        show({"name": "shop"}, as_json=True, columns=())
    assert terminal.getvalue() == '{\n  "name": "shop"\n}\n'


def test_a_customers_text_cannot_steer_the_terminal(terminal: Terminal) -> None:
    evil = "a\x1b]0;owned\x07b"
    with redirect_stdout(terminal):
        show({"name": evil}, as_json=False, columns=("name",))
        facts({"name": evil}, ("name",))
    assert "\x1b]" not in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()
    assert "a?]0;owned?b" in terminal.getvalue()


def test_markup_in_a_value_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    show({"name": "[red]x[/red]"}, as_json=False, columns=("name",))
    assert "[red]x[/red]" in capsys.readouterr().out


def test_a_fact_with_several_lines_keeps_its_column(capsys: pytest.CaptureFixture[str]) -> None:
    facts({"keys": ["a", "b"], "name": "shop", "none": None}, ("name", "keys", "none"))
    assert capsys.readouterr().out == "name  shop\nkeys  a\n      b\nnone\n"
