"""The platform's sshd with the real module on a loopback port, and a client for it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from insula.emperor import sshd
from insula.emperor.settings import Node
from tests.kernel.little_container import add_account, node_below

REPOSITORY = Path(__file__).resolve().parents[2]
UID = 30001


@dataclass(frozen=True, slots=True)
class SshNode:
    """A node of which only sshd runs."""

    node: Node
    key: Path
    log: Path

    @property
    def options(self) -> list[str]:
        return [
            "-F", "none", "-i", str(self.key), "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=INFO",
            "-o", f"Port={self.node.settings.ssh_port}", "-o", "ConnectTimeout=5",
        ]  # fmt: skip

    def ssh(
        self, *arguments: str, user: str = str(UID), text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ssh to its end; options come before the command's words."""
        flags = [item for item in arguments if item.startswith("-")]
        command = [item for item in arguments if not item.startswith("-")]
        return self.run("ssh", *flags, f"{user}@127.0.0.1", *command, text=text)

    def run(
        self, program: str, *arguments: str, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of ssh's programs to its end."""
        return subprocess.run(
            [program, *self.options, *arguments], input=text, capture_output=True, text=True,
            timeout=20, check=False,
        )  # fmt: skip


@contextlib.contextmanager
def ssh_node(root: Path) -> Iterator[SshNode]:
    """Install and start sshd below ``root``; end it whatever happens."""
    subprocess.run(["make", "-s", "-C", str(REPOSITORY / "pam")], check=True)
    node = node_below(root, ssh_port=free_port())
    add_account(node, UID)
    sshd.install(node)
    key = root / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    keys = node.paths.ssh / "authorized_keys" / str(UID)
    shutil.copyfile(f"{key}.pub", keys)
    keys.chmod(0o644)
    log = root / "log"
    with log.open("wb") as stream:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "insula.emperor.sshd", "--root", str(root)],
            stderr=stream,
            cwd="/",
        )
    try:
        _wait_for(node.settings.ssh_port, daemon, log)
        yield SshNode(node, key, log)
    finally:
        daemon.terminate()
        daemon.wait(10)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        assert daemon.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(log.read_text())


def processes_of(cgroup: Path) -> list[int]:
    """Who is in a cgroup, in the host's numbers; the dead do not count."""
    pids = [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()]
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}/ns/pid")]
