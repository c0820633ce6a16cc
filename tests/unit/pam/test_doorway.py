"""Which process counts as a container's first one, and what a command inside is given."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from insula.emperor.cli import enter, logs
from insula.emperor.errors import KernelError
from insula.emperor.kernel import namespaces
from insula.emperor.settings import Node, NodeSettings, Paths
from insula.vassals.errors import InvalidValue

UID = 30001


def status(*, uid: str = "30001", numbers: str = "812\t1") -> str:
    return f"Name:\tuwsgi\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{numbers}\n"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (status(), True),
        (status(uid="0"), None),
        (status(uid="30002"), None),
        (status(numbers="812"), False),
        (status(numbers="812\t7"), False),
        (status(numbers="812\t5\t1"), False),
        (status(numbers="1"), False),
        ("", False),
    ],
    ids=["ready", "root's", "another's", "host", "not first", "nested", "pid 1 here", "empty"],
)
def test_only_number_one_directly_below_with_the_uid_is_ready(
    text: str, answer: bool | None
) -> None:
    assert namespaces.is_first(text, uid=UID) is answer


def test_a_uid_that_is_only_effective_is_still_booting() -> None:
    text = "Uid:\t0\t30001\t30001\t30001\nNSpid:\t812\t1\n"
    assert namespaces.is_first(text, uid=UID) is None


def machine(tmp_path: Path, processes: dict[int, str]) -> tuple[Path, Path]:
    cgroup, proc = tmp_path / "cgroup", tmp_path / "proc"
    cgroup.mkdir()
    (cgroup / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in [*processes, 999]))
    for pid, text in processes.items():
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "status").write_text(text)
    return cgroup, proc


def test_the_first_process_is_found_among_others(tmp_path: Path) -> None:
    cgroup, proc = machine(tmp_path, {700: status(numbers="700"), 812: status()})
    assert namespaces.first_process(cgroup, uid=UID, proc=proc) == 812


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        ({}, "is not running"),
        ({700: status(numbers="700\t4")}, "is not running"),
        ({812: status(uid="0")}, "is starting"),
        ({812: status(), 813: status(numbers="813\t1")}, "is starting"),
    ],
    ids=["none", "no first", "booting", "two instances"],
)
def test_without_just_one_first_process_nobody_enters(
    tmp_path: Path, processes: dict[int, str], message: str
) -> None:
    cgroup, proc = machine(tmp_path, processes)
    with pytest.raises(KernelError, match=message):
        namespaces.first_process(cgroup, uid=UID, proc=proc)


@pytest.mark.parametrize(("wait_status", "code"), [(0, 0), (7 << 8, 7), (9, 137), (15, 143)])
def test_an_exit_code_is_what_a_shell_says(wait_status: int, code: int) -> None:
    assert enter.exit_code(wait_status) == code


@pytest.mark.parametrize(
    ("term", "inside"), [("xterm-256color", "xterm-256color"), ("a\nb", "dumb"), ("", "dumb")]
)
def test_only_a_plain_terminal_type_goes_inside(term: str, inside: str) -> None:
    assert enter.environment(UID, term=term, language={})["TERM"] == inside


def test_the_log_is_named_relative_to_the_home() -> None:
    assert logs.tail(5, follow=True) == ["/usr/bin/tail", "-n", "5", "-F", "--", "logs/emperor.log"]
    assert "-F" not in logs.tail(5, follow=False)


@pytest.mark.parametrize("uid", ["root", "29999", "60000", "030001", "../30001", ""])
@pytest.mark.parametrize("command", [enter.enter, logs.logs], ids=["enter", "logs"])
def test_what_is_no_containers_uid_is_refused(command: click.Command, uid: str) -> None:
    node = Node(Paths(Path("/nowhere")), NodeSettings())
    result = CliRunner().invoke(command, [uid], obj=node)
    assert isinstance(result.exception, InvalidValue)
