"""What ssh forwards and copies: it starts inside the container, never on the machine."""

import contextlib
import secrets
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks.contract import Held, any_of
from insula.emperor.isolation.traps.contract import trap

_SECONDS = 15.0


@trap
def tunnel_to_machine(made: Arena) -> str:
    """Through -W, -L and SOCKS to a service that listens on the machine's loopback alone."""
    with _machines_service() as (port, secret):
        near = (f"127.0.0.1:{port}", f"localhost:{port}")
        return any_of([
            *(partial(_by_stdio, made, target, secret) for target in near),
            partial(_by_local_socket, made, near[0], secret),
            partial(_by_listening_outside, made),
        ])  # fmt: skip


@trap
def tunnel_to_socket(made: Arena) -> str:
    """To socket files of the machine, of the API, of sshd's own root and of the neighbour."""
    near, secret = made.victim.uid, made.targets.neighbour.secret
    paths = [
        f"/containers/{near}/tmp/victim.sock",  # as sshd's own root has it
        f"{made.targets.neighbour.outside}/tmp/victim.sock",
    ]
    api, asked = str(made.node.paths.api_operator / "api.sock"), b"GET / HTTP/1.0\r\n\r\n"
    return any_of([
        *(partial(_by_local_socket, made, path, secret) for path in paths),
        partial(_by_local_socket, made, api, "HTTP/1.", asked=asked),
    ])  # fmt: skip


@trap
def copy_from_outside(made: Arena) -> str:
    """sftp with every path that leads out: of the machine, of sshd's root, by .. and by links."""
    machine, near = made.targets.machine, made.targets.neighbour
    theirs = f"containers/{near.uid}/home/secret.txt"
    wanted = {
        machine.canary: machine.secret, f"../../..{machine.canary}": machine.secret,
        f"/{theirs}": near.secret, f"../../{theirs}": near.secret,
        f"{near.outside}/home/secret.txt": near.secret, "way-out": near.secret,
    }  # fmt: skip
    made.ssh(made.attacker, f"ln -sfn /{theirs} way-out")
    try:
        return any_of([partial(_by_sftp, made, path, secret) for path, secret in wanted.items()])
    finally:
        made.ssh(made.attacker, "rm -f way-out")


@contextlib.contextmanager
def _machines_service() -> Iterator[tuple[int, str]]:
    """Listens on the machine's loopback and tells a secret to whoever connects."""
    secret = secrets.token_hex(16)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(secret.encode())

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield port, secret
        finally:
            # close() alone does not wake accept(2)
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _by_stdio(made: Arena, target: str, secret: str) -> str:
    done = subprocess.run(
        made.ssh_words(made.attacker.uid, "-oLogLevel=ERROR", "-W", target),
        stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False,
    )  # fmt: skip
    if secret.encode() in done.stdout:
        return f"ssh -W {target} reached the machine"
    raise Held(_refusal(done))


def _by_local_socket(made: Arena, target: str, secret: str, *, asked: bytes = b"") -> str:
    """ssh -L from a socket file of our own; what comes back from the other side."""
    with tempfile.TemporaryDirectory(prefix="insula-isolation-") as place:
        path = Path(place) / "way"
        process = subprocess.Popen(
            [*made.ssh_words(made.attacker.uid, "-oLogLevel=ERROR", "-L", f"{path}:{target}"),
             "echo ready; cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise ValueError("ssh opened no session")
            said = _answer(path, asked)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
    if secret.encode() in said:
        return f"ssh -L {target} reached it"
    raise Held("a forwarded connection is closed at once")


def _answer(path: Path, asked: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(str(path))
        try:
            connection.sendall(asked)
            return connection.recv(4096)
        except ConnectionError:
            return b""


def _by_listening_outside(made: Arena) -> str:
    """ssh -R: where does the port listen that the server opens for us?"""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        [*made.ssh_words(made.attacker.uid, "-R", f"0.0.0.0:{port}:127.0.0.1:1"),
         "echo ready; cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise ValueError("ssh opened no session")
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return f"ssh -R opened port {port} of the machine"
    except ConnectionRefusedError:
        raise Held("ssh -R listens in the container alone") from None
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _by_sftp(made: Arena, path: str, secret: str) -> str:
    *words, account = made.ssh_words(made.attacker.uid)
    # sftp says the port with a capital letter
    words = ["sftp", *("-P" if word == "-p" else word for word in words[1:])]
    with tempfile.TemporaryDirectory(prefix="insula-isolation-") as place:
        target = Path(place) / "copy"
        done = subprocess.run(
            [*words, "-b", "-", account], input=f"get {path} {target}\n".encode(),
            capture_output=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        if target.exists() and secret in target.read_text(errors="replace"):
            return f"sftp copied {path}"
    raise Held(_refusal(done))


def _refusal(done: "subprocess.CompletedProcess[bytes]") -> str:
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1][:100] if lines else "nothing came back"
