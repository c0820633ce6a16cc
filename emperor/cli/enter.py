"""`insula enter UID`: a shell or a command inside a container, as the container, for operators."""

import contextlib
import fcntl
import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from importlib.machinery import BuiltinImporter, FrozenImporter
from types import FrameType
from typing import Any

import click

from insula.emperor.distros import ground
from insula.emperor.errors import KernelError
from insula.emperor.kernel import namespaces, privileges, syscalls
from insula.emperor.settings import Node
from insula.vassals import identity
from insula.vassals.errors import InsulaError

SHELL = "/bin/bash"
PATH = "/usr/local/bin:/usr/bin:/bin"
CANNOT_RUN, NOT_FOUND = 126, 127
_TERM = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_CHUNK = 65536
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


@click.command()
@click.argument("uid")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--term", envvar="TERM", default="dumb", help="The terminal's type.", hidden=True)
@click.pass_obj
def enter(node: Node, uid: str, command: tuple[str, ...], term: str) -> None:
    """Run COMMAND, or a shell, inside container UID with the container's own rights.

    Its exit status becomes ours. Write -- before a command that has options.
    """
    run_inside(node, identity.parse_uid(uid), list(command) or [SHELL, "-l"], term=term)


def environment(uid: int, *, term: str, language: dict[str, str]) -> dict[str, str]:
    """The clean environment of a process inside; nothing of the operator's comes along."""
    return language | {
        "HOME": f"/containers/{uid}",
        "SHELL": SHELL,
        "USER": str(uid),
        "LOGNAME": str(uid),
        "PATH": PATH,
        "TERM": term if _TERM.fullmatch(term) else "dumb",
    }


def exit_code(status: int) -> int:
    """What a shell would say about a wait status: the exit status, or 128 + the signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def run_inside(node: Node, uid: int, command: list[str], *, term: str) -> None:
    """Run a command in the container and end this process with its status.

    Raises InsulaError as long as nothing has happened yet.
    """
    if os.geteuid() != 0:
        raise InsulaError("only root can enter a container", "use sudo, or ssh into it")
    door = namespaces.find(node.paths.cgroups(uid), uid=uid)
    paths = node.paths
    program = syscalls.read_filter(paths.seccomp_32bit if door.is_32bit else paths.seccomp)
    environ = environment(uid, term=term, language=ground.environment_of(node.paths, uid))
    if not (os.isatty(0) and os.isatty(1)):
        _keep_terminal()
    _seal_imports()
    code = CANNOT_RUN
    try:
        namespaces.go_inside(door)
        code = _fork_and_wait(uid, command, environ, program)
    except (InsulaError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    finally:
        # No way leads back outside, so nothing of this program may run on.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _keep_terminal() -> None:
    """Leave the command nothing of the operator's terminal but a way to write to it.

    Without this, in `insula logs UID | less`, standard error alone would let a process that stays
    behind read what is typed there next, a password perhaps.
    """
    for fd in (fd for fd in range(3) if os.isatty(fd)):
        # Opened anew, because a descriptor cannot lose its right to read.
        path = f"/proc/self/fd/{fd}" if fd else "/dev/null"
        narrow = os.open(path, (os.O_WRONLY if fd else os.O_RDONLY) | os.O_NOCTTY)
        os.dup2(narrow, fd)
        os.close(narrow)


def _seal_imports() -> None:
    # Once inside, root would load a module that is not loaded yet from the container's files.
    sys.meta_path[:] = [item for item in sys.meta_path if item in (BuiltinImporter, FrozenImporter)]
    sys.path.clear()


def _fork_and_wait(uid: int, command: list[str], environ: dict[str, str], program: bytes) -> int:
    # The command never gets the operator's own terminal: with TIOCSTI it could type into it. Its
    # terminal is one of the container's.
    pty = os.openpty() if os.isatty(0) and os.isatty(1) else None
    if pty is not None:
        os.fchown(pty[1], uid, -1)
    child = os.fork()
    if child == 0:
        _become_command(uid, command, environ, program, terminal=pty[1] if pty else None)
    # We wait without any right, too; nobody inside sees us, we are not in their pid namespace.
    privileges.become(uid)
    syscalls.apply_filter(program)
    for number in _PASSED_ON:
        signal.signal(number, _pass_on_to(child))
    if pty is not None:
        os.close(pty[1])
        with _raw_terminal(pty[0]):
            _relay(pty[0])
    return exit_code(os.waitpid(child, 0)[1])


def _become_command(
    uid: int,
    command: list[str],
    environ: dict[str, str],
    program: bytes,
    *,
    terminal: int | None,
) -> None:
    code = CANNOT_RUN
    try:
        if terminal is None:
            os.setsid()
        else:
            os.login_tty(terminal)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGPIPE, signal.SIGXFSZ, *_PASSED_ON):
            signal.signal(number, signal.SIG_DFL)
        privileges.become(uid)
        privileges.end_with_parent(signal.SIGHUP)
        syscalls.apply_filter(program)
        os.umask(0o022)
        os.chdir(environ["HOME"])
        os.execvpe(command[0], command, environ)
    except FileNotFoundError:
        os.write(2, f"error: {command[0]}: not found in the container\n".encode())
        code = NOT_FOUND
    except (OSError, KernelError) as error:
        os.write(2, f"error: {command[0]}: {error}\n".encode())
    finally:
        os._exit(code)


def _pass_on_to(child: int) -> Callable[[int, FrameType | None], None]:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            # The child leads its own session: a shell's children should hear it as well.
            os.killpg(child, number)

    return pass_on


@contextlib.contextmanager
def _raw_terminal(master: int) -> Iterator[None]:
    """The operator's terminal passes every key on, and its size follows."""

    def copy_size(*_: Any) -> None:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)

    before = termios.tcgetattr(0)
    copy_size()
    signal.signal(signal.SIGWINCH, copy_size)
    try:
        # DRAIN, not the default FLUSH: what was typed ahead is meant for the shell inside.
        tty.setraw(0, termios.TCSADRAIN)
        yield
    finally:
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _relay(master: int) -> None:
    sources = [0, master]
    while True:
        for fd in select.select(sources, [], [])[0]:
            try:
                data = os.read(fd, _CHUNK)
            except OSError:
                # EIO: nobody has the other side open any more.
                return
            if fd == master:
                if not data:
                    return
                _write_all(1, data)
            elif data:
                _write_all(master, data)
            else:
                sources.remove(0)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
