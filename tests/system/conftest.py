"""One whole node for all system tests: brought up by bin/up, taken down at the end."""

import http.client
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from insula.emperor.settings import Node as Settings
from insula.emperor.settings import NodeSettings, Paths

CHECKOUT = Path(__file__).parents[2]
# INSULA_TEST_NODE=1 … 9 gives a test run a node of its own beside the others'.
LANE = int(os.environ.get("INSULA_TEST_NODE", "0"))
# A fixed place: what a killed run left is found and removed by the next one.
ROOT = Path(f"/tmp/insula-test-{LANE}")
HTTP_PORT, HTTPS_PORT, SSH_PORT = 18080 + LANE, 18443 + LANE, 12222 + LANE
NETWORK = "10.201.0.0/16" if LANE == 0 else f"10.{230 + LANE}.0.0/16"
BASE_DOMAIN = "insula.test"
# The body says who answered.
APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{words}"]
"""


@dataclass(frozen=True)
class Answer:
    """What a site said."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Node:
    """The node under test, used as an operator and as a customer would."""

    root: Path
    up: dict[str, Any]
    key: Path

    @property
    def paths(self) -> Paths:
        return Paths(self.root)

    @property
    def http_port(self) -> int:
        return HTTP_PORT

    @property
    def ssh_port(self) -> int:
        return SSH_PORT

    def insula(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the operator's command line."""
        program = self.root / "var/lib/insula/venv/bin/insula"
        done = subprocess.run(
            [program, "--root", self.root, *words], capture_output=True, text=True, timeout=120
        )
        assert not check or done.returncode == 0, f"insula {words}: {done.stdout}{done.stderr}"
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.insula("--json", *words).stdout)

    def container(self, customer: str, name: str, *options: str) -> int:
        """Create a container with the tests' ssh key, wait until it runs, return its uid."""
        words = ["container", "create", "--customer", customer, "--name", name, "--wait"]
        created = self.json(*words, "--ssh-key", f"{self.key}.pub", *options)
        return int(created["uid"])

    def ssh(
        self, uid: int, command: str, *, stdin: str = "", check: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container as its customer, over the real sshd."""
        done = subprocess.run(
            [*self.ssh_words(), f"{uid}@127.0.0.1", command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def site(self, uid: int, domain: str, *, name: str = "site", words: str = "") -> None:
        """Put a small app on a domain, the way a customer does; wait until it answers."""
        self.ssh(uid, f"cat > {name}.py", stdin=APP.format(words=words or domain))
        vassal = f"""[uwsgi]
domain = {domain}
plugin = python3
wsgi-file = /containers/{uid}/{name}.py
processes = 2
"""
        self.ssh(uid, f"cat > {name}.ini && mv {name}.ini vassals/", stdin=vassal)
        self.answers(domain, 200, within=30)

    def ssh_words(self) -> list[str]:
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        words = ["ssh", "-F", "none", "-q", "-i", str(self.key), "-p", str(self.ssh_port)]
        return words + [f"-o{option}" for option in options]

    def get(self, host: str, path: str = "/", *, tls: bool = False, timeout: float = 20) -> Answer:
        """Ask the router for a page of a host, without any DNS."""
        connection: http.client.HTTPConnection
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = _Named(host, HTTPS_PORT, context=context, timeout=timeout)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Host": host, "Connection": "close"})
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())
        finally:
            connection.close()

    def answers(self, host: str, status: int, *, within: float = 20, tls: bool = False) -> float:
        """Wait until a host answers with a status; return the seconds it took."""

        def same() -> bool:
            try:
                return self.get(host, tls=tls, timeout=5).status == status
            except (OSError, http.client.HTTPException):
                return False

        return until(same, within, f"{host} answers {status}")


class _Named(http.client.HTTPSConnection):
    """Connects to this machine and asks for a name in the TLS handshake."""

    def connect(self) -> None:
        host, self.host = self.host, "127.0.0.1"
        http.client.HTTPConnection.connect(self)
        self.host = host
        context: ssl.SSLContext = self._context  # type: ignore[attr-defined]  # no public way
        self.sock = context.wrap_socket(self.sock, server_hostname=host)


def until(claim: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until a claim is true; return the seconds it took, fail after ``seconds``."""
    start = time.monotonic()
    while not claim():
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - start


def bin_up(
    *words: str, root: Path = ROOT, checkout: Path = CHECKOUT
) -> subprocess.CompletedProcess[str]:
    """Run bin/up for the tests' node, as a user would."""
    return subprocess.run(
        [checkout / "bin/up", "--root", root, *words], capture_output=True, text=True, timeout=900
    )


UP_OPTIONS = (
    "--http-port",
    str(HTTP_PORT),
    "--https-port",
    str(HTTPS_PORT),
    "--ssh-port",
    str(SSH_PORT),
    "--network",
    NETWORK,
    "--base-domain",
    BASE_DOMAIN,
    "--json",
    # A guest's tests take --minimal: a whole distro is built for half an hour there.
    *os.environ.get("INSULA_TEST_UP", "").split(),
)


def leftovers() -> list[str]:
    """What of the tests' node is still on the machine."""
    found = []
    tag = _tag()
    for line in Path("/proc/mounts").read_text().splitlines():
        if f" {ROOT}" in line:
            found.append(f"mount {line.split()[1]}")
    for link in Path("/sys/class/net").glob(f"ins{tag}-*"):
        found.append(f"link {link.name}")
    # Other nodes' groups come and go meanwhile; walk(), unlike glob(), passes over what is gone.
    for place, names, _ in os.walk("/sys/fs/cgroup"):
        found += [f"cgroup {place}/{name}" for name in names if name == f"insula-{tag}"]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    found += [f"nft {line}" for line in tables.splitlines() if f"insula_{tag}" in line]
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout
    found += [f"loop {line}" for line in loops.splitlines() if str(ROOT) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(ROOT).encode() in words and int(process.name) != os.getpid():
            found.append(f"process {process.name} {words[:80]!r}")
    return found


def _tag() -> str:
    return Settings(Paths(ROOT), NodeSettings()).tag


def remove_node() -> None:
    """Stop the tests' node and delete all of it; safe on whatever a killed run left."""
    if (ROOT / "var/lib/insula/venv").exists():
        bin_up("--down")
    # Only what is no longer mounted is deleted: never reach into a mounted pool.
    if not any(f" {ROOT}" in line for line in Path("/proc/mounts").read_text().splitlines()):
        shutil.rmtree(ROOT, ignore_errors=True)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the demo customer, from nothing, through bin/up."""
    remove_node()
    assert leftovers() == []
    done = bin_up(*UP_OPTIONS)
    assert done.returncode == 0, done.stderr
    key = tmp_path_factory.mktemp("ssh") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    yield Node(root=ROOT, up=json.loads(done.stdout), key=key)
    remove_node()
    assert leftovers() == []
