"""`insula enter` and `insula logs` against a real little container."""

import os
import pty
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from insula.emperor.errors import KernelError
from insula.emperor.kernel import namespaces
from insula.emperor.settings import Node
from tests import places
from tests.kernel import little_container
from tests.kernel.little_container import Container

pytestmark = pytest.mark.kernel

UID = 30011
PROGRAM = """
import sys
from pathlib import Path
from insula.emperor import settings
from insula.emperor.cli.enter import enter
from insula.emperor.cli.logs import logs
from insula.vassals.errors import InsulaError
command = {"enter": enter, "logs": logs}[sys.argv[2]]
try:
    command.main(sys.argv[3:], obj=settings.load(Path(sys.argv[1])))
except InsulaError as error:
    sys.exit(f"error: {error}")
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    made = little_container.node_below(tmp_path_factory.mktemp("enter"))
    little_container.add_account(made, UID)
    return made


@pytest.fixture(scope="module")
def box(node: Node) -> Iterator[Container]:
    with little_container.container(node, UID) as running:
        yield running


def insula(node: Node, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of the two commands to its end."""
    return subprocess.run(
        command_line(node, *arguments), input=text, capture_output=True, text=True, timeout=20,
        check=False, env=os.environ | {"TERM": "xterm", "OPERATORS_SECRET": "1"},
    )  # fmt: skip


def command_line(node: Node, *arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(node.paths.root), *arguments]


def test_a_command_runs_as_the_container_in_its_home(node: Node, box: Container) -> None:
    done = insula(node, "enter", str(UID), "--", "sh", "-c", "hostname; pwd; id -u; id -G; exit 5")
    assert done.stdout.split() == ["little", f"/containers/{UID}", str(UID), str(UID)]
    assert done.returncode == 5


def test_the_command_has_no_capability_and_can_gain_none(node: Node, box: Container) -> None:
    done = insula(node, "enter", str(UID), "--", "cat", "/proc/self/status")
    lines = [line.split(":\t") for line in done.stdout.splitlines()]
    fields = {line[0]: line[1] for line in lines if line[0].startswith(("Cap", "NoNewPrivs"))}
    assert fields.pop("NoNewPrivs") == "1"
    assert len(fields) == 5
    assert set(fields.values()) == {"0" * 16}
    assert ["Seccomp", "2"] in lines


def test_without_its_filter_a_container_is_not_entered(node: Node, box: Container) -> None:
    program = node.paths.seccomp.read_bytes()
    node.paths.seccomp.unlink()
    try:
        done = insula(node, "enter", str(UID), "--", "touch", "here")
    finally:
        node.paths.seccomp.write_bytes(program)
    assert "there is no system call filter" in done.stderr
    assert not (places.home(node.paths, UID) / "here").exists()


def test_nothing_of_the_operators_environment_or_files_comes_along(
    node: Node, box: Container
) -> None:
    done = insula(node, "enter", str(UID), "--", "env")
    names = {line.split("=", 1)[0] for line in done.stdout.splitlines()}
    assert names == {"HOME", "SHELL", "USER", "LOGNAME", "PATH", "TERM", "LANG"}
    opened = insula(node, "enter", str(UID), "--", "ls", "/proc/self/fd").stdout.split()
    assert opened == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_it_joins_the_cgroups_and_every_namespace(node: Node, box: Container) -> None:
    names = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    links = [f"/proc/self/ns/{name}" for name in names]
    inside = insula(node, "enter", str(UID), "--", "readlink", *links).stdout.split()
    assert inside == [os.readlink(f"/proc/{box.pid}/ns/{name}") for name in names]
    groups = insula(node, "enter", str(UID), "--", "cat", "/proc/self/cgroup").stdout
    assert f"{little_container.OWN_GROUP}\n" in groups


@pytest.mark.parametrize(
    ("command", "code"),
    [(["sh", "-c", "kill -KILL $$"], 137), (["no-such-program"], 127), (["/etc/passwd"], 126)],
    ids=["killed", "not found", "not a program"],
)
def test_the_exit_code_is_what_a_shell_would_say(
    node: Node, box: Container, command: list[str], code: int
) -> None:
    assert insula(node, "enter", str(UID), "--", *command).returncode == code


def test_input_and_output_pass_through(node: Node, box: Container) -> None:
    assert insula(node, "enter", str(UID), "--", "cat", text="a\nb\n").stdout == "a\nb\n"


def test_a_shell_gets_a_terminal_of_the_container_not_the_operators(
    node: Node, box: Container
) -> None:
    pid, master = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command_line(node, "enter", str(UID)))
    try:
        os.write(master, b"stty -echo; tty; echo cap=$(grep -c CapBnd /proc/self/status); exit 9\n")
        shown = _read_all(master)
    finally:
        os.close(master)
    assert "/dev/pts/0" in shown
    assert "cap=1" in shown
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def _read_all(master: int) -> str:
    shown = b""
    while select.select([master], [], [], 10)[0]:
        try:
            shown += os.read(master, 4096)
        except OSError:
            break
    return shown.decode()


@pytest.mark.parametrize("redirected", ["<&-", ">/dev/null", "2>&1 | cat"])
def test_a_command_without_a_terminal_cannot_read_from_the_operators(
    node: Node, box: Container, redirected: str
) -> None:
    """A process that stays behind would read the password that is typed there next."""
    script = "for f in 0 1 2; do [ -t $f ] && echo $f $((0x3 & $(grep flags /proc/$$/fdinfo/$f"
    script += " | cut -f2))) >&2; exec 4<>/proc/$$/fd/$f; done; true"
    line = " ".join(shlex.quote(item) for item in command_line(node, "enter", str(UID), "--"))
    pid, master = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["sh", "-c", f"{line} bash -c {shlex.quote(script)} {redirected}"])
    try:
        shown = _read_all(master)
    finally:
        os.close(master)
    os.waitpid(pid, 0)
    assert "2 1" in shown or "cat" in redirected
    assert not {"0 0", "0 2", "1 0", "1 2", "2 0", "2 2"} & set(shown.splitlines())
    assert "Permission denied" in shown


def test_the_keys_of_the_operators_session_stay_outside(node: Node, box: Container) -> None:
    program = """
import ctypes, os, sys
call = ctypes.CDLL(None).syscall
keyctl, add_key = (250, 248) if os.uname().machine == "x86_64" else (219, 217)
call(keyctl, 1, None)
call(add_key, b"user", b"operators-secret", b"x", 1, -3)
assert "operators-secret" in open("/proc/keys").read()
os.execv(sys.argv[1], sys.argv[1:])
"""
    line = command_line(node, "enter", str(UID), "--", "sh", "-c", "echo up; cat /proc/keys")
    done = subprocess.run(
        [sys.executable, "-c", program, *line], capture_output=True, text=True, timeout=20,
        check=True,
    )  # fmt: skip
    assert done.stdout.startswith("up\n")
    assert "operators-secret" not in done.stdout


def test_a_signal_to_the_command_reaches_the_process_inside(node: Node, box: Container) -> None:
    with subprocess.Popen(
        command_line(node, "enter", str(UID), "--", "sh", "-c", "echo up; exec sleep 60"),
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 128 + signal.SIGTERM


def test_it_waits_without_any_right(node: Node, box: Container) -> None:
    with subprocess.Popen(
        command_line(node, "enter", str(UID), "--", "sh", "-c", "echo up; exec sleep 60"),
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        status = Path(f"/proc/{running.pid}/status").read_text()
        running.terminate()
    assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status
    assert "CapPrm:\t0000000000000000" in status


def test_the_log_is_read_with_the_containers_own_rights(node: Node, box: Container) -> None:
    logs = places.home(node.paths, UID) / "logs"
    logs.mkdir()
    os.chown(logs, UID, UID)
    log = logs / "emperor.log"
    log.write_text("one\ntwo\nthree\n")
    assert insula(node, "logs", str(UID), "-n", "2").stdout == "two\nthree\n"
    secret = node.paths.container_files(UID) / "passwd"
    secret.chmod(0o600)
    log.unlink()
    log.symlink_to("/etc/passwd")
    refused = insula(node, "logs", str(UID))
    secret.chmod(0o644)
    assert "Permission denied" in refused.stderr
    assert refused.stdout == ""


def test_a_container_that_boots_or_does_not_exist_is_refused(node: Node, tmp_path: Path) -> None:
    little_container.add_account(node, 30012)
    assert "30013 is not on this machine" in insula(node, "enter", "30013").stderr
    with little_container.container(node, 30012, booting=True) as booting:
        assert "30012 is starting" in insula(node, "enter", "30012", "--", "true").stderr
        booting.finish_boot()
        assert insula(node, "enter", "30012", "--", "true").returncode == 0
        booting.end()
        assert "30012 is not running" in insula(node, "enter", "30012", "--", "true").stderr


@pytest.mark.parametrize("text", ["", "relative\n", "/sys/fs/cgroup/../etc\n"])
def test_a_malformed_list_of_cgroups_is_refused(tmp_path: Path, text: str) -> None:
    listing = tmp_path / "30001"
    listing.write_text(text)
    with pytest.raises(KernelError, match="should list absolute directories"):
        namespaces.read_cgroups(listing)


def test_a_list_of_cgroups_that_is_not_roots_own_is_refused(tmp_path: Path) -> None:
    listing = tmp_path / "30001"
    listing.write_text("/sys/fs/cgroup\n")
    os.chown(listing, UID, UID)
    with pytest.raises(KernelError, match="not root's own"):
        namespaces.read_cgroups(listing)
    link = tmp_path / "30002"
    link.symlink_to(listing)
    with pytest.raises(KernelError, match="not on this machine"):
        namespaces.read_cgroups(link)


def test_a_container_that_dies_while_one_enters_ends_the_command(node: Node) -> None:
    little_container.add_account(node, 30014)
    with little_container.container(node, 30014) as mortal:
        line = command_line(node, "enter", "30014", "--", "sh", "-c", "echo up; exec sleep 60")
        with subprocess.Popen(line, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == b"up\n"
            mortal.end()
            assert running.wait(10) == 137
