"""The demo: a customer with one container and one app, set up the way a customer would do it."""

import http.client
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from insula.emperor import service, wait
from insula.emperor.command import run
from insula.emperor.daemon import http as api
from insula.emperor.daemon.files import write_atomic
from insula.emperor.errors import FeedError, PreparationError
from insula.emperor.rundir import directory
from insula.emperor.settings import Node

NAME = "demo"
WAIT_SECONDS = 60.0
_APP = '''\
"""The demo app: says who it is and where it runs."""

import os
import platform


def application(environ, start_response):
    host = environ.get("HTTP_HOST", "?")
    text = f"Hello from container {os.getuid()} ({platform.node()}), asked as {host}.\\n"
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]
'''


@dataclass(frozen=True, slots=True)
class Demo:
    """What the summary tells about the demo."""

    uid: int
    domain: str
    key: Path
    token_file: Path


def folder(node: Node) -> Path:
    return node.paths.etc / "demo"


def existing(node: Node) -> Demo | None:
    """The demo that an earlier run has set up, also when its customer has changed it since."""
    try:
        uid = int((folder(node) / "ready").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return _demo(node, uid)


def make(node: Node) -> Demo:
    """Set the demo up, going on where an earlier run stopped. Raises PreparationError."""
    directory(folder(node), mode=0o700)
    _customer(node)
    uid = _container(node, _public_key(node))
    demo = _demo(node, uid)
    _wait("the demo's container lets us in", lambda: _ssh(node, demo, "true"), node)
    _install_app(node, demo)
    _wait(f"{demo.domain} answers", lambda: answers(node, demo.domain), node)
    write_atomic(folder(node) / "ready", f"{uid}\n".encode(), mode=0o600)
    return demo


def _demo(node: Node, uid: int) -> Demo:
    place = folder(node)
    domain = f"{NAME}.{node.settings.base_domain}"
    return Demo(uid, domain, place / "id_ed25519", place / "token")


def _public_key(node: Node) -> str:
    key = folder(node) / "id_ed25519"
    if not key.with_suffix(".pub").exists():
        key.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "insula-demo", "-f", str(key)])
    return key.with_suffix(".pub").read_text().strip()


def _call(node: Node, method: str, url: str, body: object = None) -> object:
    return api.call(node.paths.api_operator / "api.sock", method, url, body, timeout=30.0)


def _customer(node: Node) -> None:
    if not any(
        item.get("name") == NAME for item in _items(_call(node, "GET", "/api/v1/customers"))
    ):
        _call(node, "POST", "/api/v1/customers", {"name": NAME})
    token_file = folder(node) / "token"
    if not token_file.exists():
        answer = _call(node, "POST", f"/api/v1/customers/{NAME}/tokens", {"name": "demo"})
        token = answer.get("token") if isinstance(answer, dict) else None
        write_atomic(token_file, f"{token}\n".encode(), mode=0o600)


def _container(node: Node, key: str) -> int:
    for item in _items(_call(node, "GET", f"/api/v1/containers?customer={quote(NAME)}")):
        if item.get("name") == NAME and item.get("state") == "running":
            return _uid(item)
    wanted = {"customer": NAME, "name": NAME, "ssh_keys": [key]}
    return _uid(_call(node, "POST", "/api/v1/containers", wanted))


def _items(answer: object) -> list[dict[str, object]]:
    if isinstance(answer, dict):
        # A page of a list carries its objects in one field.
        answer = next((value for value in answer.values() if isinstance(value, list)), [])
    return [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []


def _uid(answer: object) -> int:
    uid = answer.get("uid") if isinstance(answer, dict) else None
    if not isinstance(uid, int):
        raise FeedError(f"the API answered no container: {json.dumps(answer)[:200]}")
    return uid


def _ssh(node: Node, demo: Demo, command: str, text: str | None = None) -> bool:
    """Run one command as the customer; True when it ended well."""
    done = subprocess.run(
        [*ssh_line(node, demo), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o",
         "LogLevel=ERROR", command],
        input=text or "", capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return done.returncode == 0


def ssh_line(node: Node, demo: Demo) -> list[str]:
    """The ssh command of the summary."""
    return [
        "ssh", "-i", str(demo.key), "-p", str(node.settings.ssh_port),
        "-o", f"UserKnownHostsFile={folder(node) / 'known_hosts'}",
        "-o", "StrictHostKeyChecking=accept-new", f"{demo.uid}@127.0.0.1",
    ]  # fmt: skip


def vassal(demo: Demo) -> str:
    """The demo's vassal file: what a customer writes."""
    return f"""\
[uwsgi]
domain = {demo.domain}
plugin = python3
chdir = /containers/{demo.uid}/app
module = hello
"""


def _install_app(node: Node, demo: Demo) -> None:
    # The vassal last and by a rename: the sub-Emperor starts what it sees. Synced, because no later
    # run looks whether a cut of the power has left the files empty.
    put = "mv ~/app/demo.ini ~/vassals/demo.ini && sync ~/app ~/vassals"
    steps = [
        ("mkdir -p ~/app ~/vassals && cat > ~/app/hello.py && sync ~/app/hello.py", _APP),
        (f"cat > ~/app/demo.ini && sync ~/app/demo.ini && {put}", vassal(demo)),
    ]
    for command, content in steps:
        if not _ssh(node, demo, command, content):
            raise PreparationError("the demo app could not be written over ssh", _hint(node))


def answers(node: Node, domain: str, *, timeout: float = 3.0) -> bool:
    """True when the router gives an app's answer for the domain."""
    connection = http.client.HTTPConnection("127.0.0.1", node.settings.http_port, timeout=timeout)
    try:
        connection.request("GET", "/", headers={"Host": domain})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait(what: str, is_true: Callable[[], bool], node: Node) -> None:
    wait.until(what, is_true, seconds=WAIT_SECONDS, hint=_hint(node))


def _hint(node: Node) -> str:
    return f"insula node status; the log: {service.log_place(node)}; bin/up goes on from here"
