"""Exit codes, errors on stderr, destroy's question and the wait for the node."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from insula.api.cli import access
from insula.api.cli import container as commands
from insula.api.cli.client import ApiRefused
from tests.unit.cli.conftest import (
    Answer,
    Done,
    FakeApi,
    Insula,
    applied,
    container,
    problem,
)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, 3),
        (403, 3),
        (404, 4),
        (405, 1),
        (409, 5),
        (412, 5),
        (413, 1),
        (422, 2),
        (500, 1),
        (503, 1),
    ],
)
def test_a_refusal_decides_the_exit_code(
    insula: Insula, api: FakeApi, status: int, code: int
) -> None:
    api.will_answer(problem(status, "it cannot be", "do something else"))
    done = insula("container", "show", "30002", "--json")
    assert done == Done(code, "", "error: it cannot be\n(do something else)\n")


def test_each_wrong_field_is_told(insula: Insula, api: FakeApi) -> None:
    errors = [{"field": "name", "detail": "is missing"}, {"field": "cpu", "detail": "too much"}]
    api.will_answer((422, {"detail": "two fields are wrong", "errors": errors}))
    done = insula("container", "create", "--name", "shop")
    assert done.err == "error: two fields are wrong\n  name: is missing\n  cpu: too much\n"


def test_a_field_that_is_already_in_the_sentence_is_not_told_twice(
    insula: Insula, api: FakeApi
) -> None:
    errors = [{"field": "name", "detail": "the name shop is taken"}]
    api.will_answer((409, {"detail": "the name shop is taken", "errors": errors}))
    done = insula("container", "create", "--name", "shop")
    assert done == Done(5, "", "error: the name shop is taken\n")


@pytest.mark.parametrize("body", [b"<h1>Bad gateway</h1>", b"[1]", b""])
def test_an_answer_that_is_no_problem_document_keeps_its_status(
    insula: Insula, api: FakeApi, body: bytes
) -> None:
    api.will_answer((502, body))
    done = insula("customer", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[0] == "error: the API answered 502 Bad Gateway"


def test_a_usage_error_is_two_lines_and_the_usage(insula: Insula) -> None:
    done = insula("container", "show")
    assert done == Done(
        2,
        "",
        "Usage: insula container show [OPTIONS] UID\n"
        "error: missing argument 'UID'\n"
        "(insula container show --help says more)\n",
    )


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["container", "create", "-h"]])
def test_help_is_data(insula: Insula, words: list[str]) -> None:
    done = insula(*words)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: insula")


def test_a_defect_is_one_line_without_debug(
    insula: Insula, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.will_answer({"surprise": True})
    done = insula("container", "show", "30002")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[0] == "error: KeyError: 'applied'"


def test_debug_shows_where_an_error_comes_from(insula: Insula, api: FakeApi) -> None:
    api.will_answer(problem(404, "there is no container 30002"))
    with pytest.raises(ApiRefused, match="there is no container"):
        insula("--debug", "container", "show", "30002")


class Typed(io.StringIO):
    """A person at a terminal."""

    def isatty(self) -> bool:
        return True


def _types(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(text))


def test_destroy_without_a_terminal_asks_for_yes(
    insula: Insula, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("shop\n"))
    done = insula("container", "destroy", "30002")
    assert (done.code, done.out, api.lines) == (2, "", [])
    assert done.err.splitlines()[1] == "(give --yes)"


def test_destroy_with_yes_asks_nothing(insula: Insula, api: FakeApi) -> None:
    api.will_answer(container(), container(state="destroyed"))
    done = insula("container", "destroy", "30002", "--yes", "--json")
    assert (done.code, done.err, done.json["state"]) == (0, "", "destroyed")
    assert api.lines == ["GET /api/v1/containers/30002", "DELETE /api/v1/containers/30002"]


@pytest.mark.parametrize("typed", ["shopp\n", "30002\n", "SHOP\n", "yes\n"])
def test_destroy_with_another_name_changes_nothing(
    insula: Insula, api: FakeApi, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    _types(monkeypatch, typed)
    api.will_answer(container())
    done = insula("container", "destroy", "30002")
    assert (done.code, api.lines) == (2, ["GET /api/v1/containers/30002"])
    assert "is not its name\n(nothing was changed)" in done.err


def test_destroy_with_the_name_typed_destroys(
    insula: Insula, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    _types(monkeypatch, "shop\n")
    api.will_answer(container(), container(state="destroyed"))
    done = insula("container", "destroy", "30002")
    assert done.code == 0
    assert api.lines[-1] == "DELETE /api/v1/containers/30002"
    assert "Type the name of container 30002" in done.err
    assert "Type" not in done.out


def test_leaving_the_question_changes_nothing(
    insula: Insula, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    _types(monkeypatch, "")
    api.will_answer(container())
    done = insula("container", "destroy", "30002")
    assert (done.code, len(api.lines)) == (130, 1)
    assert done.err.endswith("error: stopped\n")


class Clock:
    """Time that passes in sleep alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(commands, "time", clock)
    return clock


READY = container(applied=applied())
CREATE = ("container", "create", "--name", "shop", "--wait", "--json")


def test_wait_ends_when_the_node_has_applied_and_runs_it(
    insula: Insula, api: FakeApi, clock: Clock
) -> None:
    api.will_answer(container(), container(), READY)
    done = insula(*CREATE)
    assert (done.code, done.json) == (0, READY)
    assert done.err == "waiting for container 30002 (revision 7) …\n"
    assert api.lines[1] == "GET /api/v1/containers/30002?wait=2.0&applied=7"


@pytest.mark.parametrize(
    "state",
    [
        None,
        applied(revision=6),
        applied(generation=0),
        applied(running_since=0.0),
    ],
    ids=["no report", "older revision", "older generation", "not booted"],
)
def test_wait_goes_on_until_then(
    insula: Insula, api: FakeApi, clock: Clock, state: dict[str, Any] | None
) -> None:
    api.will_answer(container(), container(applied=state), READY)
    assert insula(*CREATE).json == READY
    assert len(api.lines) == 3


def test_wait_tells_the_nodes_error(insula: Insula, api: FakeApi, clock: Clock) -> None:
    api.will_answer(container(), container(applied=applied(error="disk full")))
    done = insula(*CREATE)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[1:] == [
        "error: container 30002: disk full",
        "(the node tries again; insula explain 30002)",
    ]


def test_wait_ends_with_an_error_that_keeps_the_change_from_being_applied(
    insula: Insula, api: FakeApi, clock: Clock
) -> None:
    api.will_answer(container(), container(applied=applied(revision=0, error="no such distro")))
    done = insula(*CREATE)
    assert (done.code, clock.now) == (1, 0.0)
    assert "error: container 30002: no such distro\n" in done.err


OLD = container(applied=applied(revision=6, error="disk full"))
REBOOT = ("container", "reboot", "30002", "--wait", "--json")


def test_an_error_from_before_the_change_may_still_go(
    insula: Insula, api: FakeApi, clock: Clock
) -> None:
    api.will_answer(OLD, OLD, READY)
    assert insula(*REBOOT).json == READY


def test_an_error_that_stays_is_told_when_time_is_over(
    insula: Insula, api: FakeApi, clock: Clock
) -> None:
    api.will_answer(OLD)
    done = insula(*REBOOT, "--timeout", "5")
    assert done.code == 6
    assert "is not ready after 5 s (disk full); the node goes on" in done.err


@pytest.mark.parametrize("words", [CREATE, ("container", "reboot", "30002", "--wait")])
def test_wait_that_takes_too_long_exits_6_and_says_that_the_node_goes_on(
    insula: Insula, api: FakeApi, clock: Clock, words: tuple[str, ...]
) -> None:
    api.will_answer(container())
    done = insula(*words, "--timeout", "2.5")
    assert (done.code, done.out) == (6, "")
    assert done.err.splitlines()[1:] == [
        "error: container 30002 is not ready after 2.5 s; the node goes on",
        "(insula explain 30002 shows which step is missing)",
    ]
    assert 2.5 <= clock.now < 3.0


def test_a_boot_that_never_comes_is_not_asked_for_without_a_pause(
    insula: Insula, api: FakeApi, clock: Clock
) -> None:
    api.will_answer(container(), container(applied=applied(running_since=0.0)))
    assert insula(*CREATE).code == 6
    assert len(api.lines) < 60 / 0.25 + 20


def test_a_busy_api_is_asked_again_for_the_change_is_made(
    insula: Insula, api: FakeApi, clock: Clock
) -> None:
    api.will_answer(container(), problem(503, "too many requests wait already"), READY)
    assert insula(*CREATE).json == READY


def test_another_refusal_ends_the_wait(insula: Insula, api: FakeApi, clock: Clock) -> None:
    busy: Answer = problem(404, "there is no container 30002")
    api.will_answer(container(), busy)
    assert insula(*CREATE).code == 4


def test_without_wait_nothing_is_asked_afterwards(insula: Insula, api: FakeApi) -> None:
    api.will_answer(container())
    assert insula("container", "create", "--name", "shop", "--no-wait").code == 0
    assert len(api.lines) == 1


def test_a_socket_out_of_reach_exits_3(
    insula: Insula, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(access, "remote", lambda _: None)
    done = insula("domain", "list")
    assert done.code == 3
    assert "only root may talk to the API here" in done.err
