"""`insula enter` and `insula logs`: what runs inside, with which environment and exit status."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insula.emperor import cli
from insula.emperor.cli import enter, logs


def test_an_unknown_command_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        cli.command("nope")


@pytest.mark.parametrize("name", cli.NAMES)
def test_every_name_is_a_command_of_that_name(name: str) -> None:
    assert cli.command(name).name == name


def test_nothing_of_the_operators_environment_comes_along() -> None:
    assert enter.environment(30001, term="xterm", language={"LANG": "C.UTF-8", "TZ": "UTC"}) == {
        "HOME": "/containers/30001",
        "SHELL": "/bin/bash",
        "USER": "30001",
        "LOGNAME": "30001",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }


@pytest.mark.parametrize("term", ["", "a b", "../x", "x\ny", "x" * 65, "ä"])
def test_a_terminal_that_is_no_name_is_a_dumb_one(term: str) -> None:
    assert enter.environment(30001, term=term, language={})["TERM"] == "dumb"


@given(some.integers(0, 255))
def test_the_exit_status_is_the_commands(status: int) -> None:
    assert enter.exit_code(status << 8) == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_with_128_and_its_number(number: int) -> None:
    assert enter.exit_code(number) == 128 + number


def test_a_log_is_read_inside_and_by_a_relative_path() -> None:
    assert logs.tail(5, follow=False) == ["/usr/bin/tail", "-n", "5", "--", "logs/emperor.log"]


def test_following_a_log_goes_on_after_a_rotation() -> None:
    assert "-F" in logs.tail(5, follow=True)
