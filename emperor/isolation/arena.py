"""Where the attacks happen: two throw-away containers of two customers on the running node."""

import contextlib
import fcntl
import io
import os
import re
import secrets
import select
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from insula.emperor import removed, service, wait
from insula.emperor.command import run
from insula.emperor.daemon import http as api
from insula.emperor.errors import FeedError, KernelError, PreparationError
from insula.emperor.isolation.attacks.contract import Machine, Neighbour, Own, Targets
from insula.emperor.kernel import namespaces
from insula.emperor.rundir import directory
from insula.emperor.settings import Node
from insula.vassals import identity

ATTACKER, VICTIM = "isolation-attacker", "isolation-victim"
# The token that some traps make for themselves; no other one may open the arena.
TOKEN = "insula-isolation"
PORT = 7421
MEMORY_BYTES, DISK_BYTES, PIDS, CPU_PERCENT = 192 * 1024**2, 64 * 1024**2, 96, 50
_WAIT_SECONDS = 60.0
# Root keeps and reads what a container says: no more of it than this.
_SAID_BYTES = 4 * 1024**2
_ATTACKS = Path(__file__).parent / "attacks"
_PACKAGE = "insula/emperor/isolation/attacks"
_PROGRAM = f"{_PACKAGE.replace('/', '.')}.program"
_MAIN = f"import sys\nfrom {_PROGRAM} import main\nmain(sys.argv[1:])\n"
# Daemons of an app that runs nothing else; uWSGI starts them as the customer's sub-Emperor would.
_VASSAL = "[uwsgi]\nmaster = true\nattach-daemon2 = cmd=exec {command}\n"


@dataclass(frozen=True, slots=True)
class Party:
    """One side: a customer and its container."""

    name: str
    uid: int

    @property
    def home(self) -> str:
        """Its home, as seen inside."""
        return f"/containers/{self.uid}"


@dataclass(frozen=True, slots=True)
class Arena:
    """The two sides, what the attacker knows, and the ways in."""

    node: Node
    attacker: Party
    victim: Party
    targets: Targets
    _key: Path = field(repr=False)

    def ssh_words(self, uid: int, *options: str) -> list[str]:
        """The ssh command line up to the command that is run inside."""
        chosen = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
                  "ConnectTimeout=10", "IdentitiesOnly=yes")  # fmt: skip
        port = str(self.node.settings.ssh_port)
        return [
            "ssh", "-F", "none", "-q", "-i", str(self._key), "-p", port,
            *(f"-o{option}" for option in chosen), *options, f"{uid}@127.0.0.1",
        ]  # fmt: skip

    def ssh(
        self, party: Party, command: str, *, stdin: bytes = b"", timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as a customer; its exit status is the caller's to judge.

        One that says more than 4 MiB is ended by a signal.
        """
        words = ["prlimit", f"--fsize={_SAID_BYTES}", *self.ssh_words(party.uid), command]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                words, input=stdin, stdout=out, stderr=err, timeout=timeout, check=False
            )
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, done.returncode, out.read(), err.read())

    def ssh_lines(self, party: Party, command: str, *, seconds: float) -> Iterator[bytes]:
        """What a command prints inside, line by line; ended when one is late, or after 4 MiB."""
        process = subprocess.Popen(
            [*self.ssh_words(party.uid), command], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        said, taken = b"", 0
        try:
            while select.select([process.stdout], [], [], seconds)[0]:
                chunk = os.read(process.stdout.fileno(), 65536)
                *lines, said = (said + chunk).split(b"\n")
                yield from lines
                taken += len(chunk)
                if not chunk or taken > _SAID_BYTES:
                    return
        finally:
            process.kill()
            process.stdout.close()
            process.wait()

    def put(self, party: Party, path: str, content: bytes) -> None:
        """Write a file inside, over ssh, whole or not at all. Raises PreparationError."""
        done = self.ssh(party, f"cat > {path}.new && mv {path}.new {path}", stdin=content)
        if done.returncode != 0:
            raise PreparationError(f"writing {path} in {party.uid}: {done.stderr.decode()[:200]}")

    def call(self, method: str, url: str, body: object = None) -> Any:
        """Ask the API as the operator. Raises FeedError with its answer."""
        return _call(self.node, method, url, body)


@contextlib.contextmanager
def arena(node: Node, note: Callable[[str], None]) -> Iterator[Arena]:
    """Make both containers, let the victim serve, give the attacker its program; then undo it.

    What a killed run left is taken away first. Raises PreparationError when another run is busy or
    the node does not run.
    """
    if service.emperor_pid(node.paths) is None:
        raise PreparationError("the node does not run", "bin/up starts it")
    place = node.paths.run / "isolation"
    directory(place, mode=0o700)
    with _alone(place / "lock"):
        _refuse_real_customers(node)
        _tidy(node)
        try:
            note("making two containers")
            yield _furnish(node, place, note)
        finally:
            note("taking them away")
            _tidy(node)
            shutil.rmtree(place / "keys", ignore_errors=True)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PreparationError(
                "another isolation run is under way", "wait for its end"
            ) from error
        yield


def _furnish(node: Node, place: Path, note: Callable[[str], None]) -> Arena:
    keys = place / "keys"
    shutil.rmtree(keys, ignore_errors=True)
    directory(keys, mode=0o700)
    key, canary, secret = keys / "id", keys / "canary", secrets.token_hex(16)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
    canary.touch(mode=0o600)
    canary.write_text(secret)
    public = key.with_suffix(".pub").read_text().strip()
    sides = [Party(name, _container(node, name, public)) for name in (ATTACKER, VICTIM)]
    attacker, victim = sides
    empty = Targets(_own(node, attacker), _neighbour(node, victim, "", 0),
                    _machine(node, attacker, canary, secret))  # fmt: skip
    made = Arena(node, attacker, victim, empty, key)
    for side in sides:
        _until(f"{side.uid} lets us in", partial(_lets_in, made, side), node)
        made.put(side, "attacks.pyz", program())
    note("starting the neighbour's services")
    # asked for again: only a container that runs has its groups
    found = Targets(empty.own, _serve(made), _machine(node, attacker, canary, secret))
    made.put(attacker, "targets.json", found.to_json().encode())
    return Arena(node, attacker, victim, found, key)


def program() -> bytes:
    """The attacks as a zip file that Python runs."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", _MAIN)
        for source in sorted(_ATTACKS.glob("*.py")):
            archive.write(source, f"{_PACKAGE}/{source.name}")
        # zipimport knows no package without one
        for parent in PurePosixPath(_PACKAGE).parents[:-1]:
            archive.writestr(f"{parent}/__init__.py", "")
    return packed.getvalue()


def daemon_vassal(command: str) -> str:
    """A vassal file whose only work is to run a command."""
    return _VASSAL.format(command=command)


def _container(node: Node, name: str, key: str) -> int:
    """A fresh container of the customer of this name; the customer stays for the next run."""
    known = _call(node, "GET", "/api/v1/customers")
    if not any(item["name"] == name for item in known):
        _call(node, "POST", "/api/v1/customers", {"name": name})
    wanted = {
        "customer": name, "name": f"{name}-{secrets.token_hex(3)}", "hostname": name,
        "ssh_keys": [key], "memory_bytes": MEMORY_BYTES, "storage_bytes": DISK_BYTES,
        "pids_max": PIDS, "cpu_percent": CPU_PERCENT,
    }  # fmt: skip
    return int(_call(node, "POST", "/api/v1/containers", wanted)["uid"])


def _own(node: Node, side: Party) -> Own:
    return Own(
        uid=side.uid, home=side.home, hostname=side.name, ip=_ip(node, side.uid),
        memory_bytes=MEMORY_BYTES, pids=PIDS,
        cpu_percent=CPU_PERCENT, disk_bytes=DISK_BYTES, domain=_domain(node, side.uid),
    )  # fmt: skip


def _neighbour(node: Node, side: Party, secret: str, pid: int) -> Neighbour:
    return Neighbour(
        uid=side.uid, secret=secret, outside=str(node.paths.containers / str(side.uid)), pid=pid,
        ip=_ip(node, side.uid), port=PORT, domain=_domain(node, side.uid),
    )  # fmt: skip


def _machine(node: Node, attacker: Party, canary: Path, secret: str) -> Machine:
    settings = node.settings
    ports = (settings.http_port, settings.https_port, settings.ssh_port)
    return Machine(
        root=str(node.paths.root), canary=str(canary), secret=secret,
        emperor_pid=service.emperor_pid(node.paths) or 0, gateway=str(settings.gateway),
        ports=ports, cgroups=tuple(map(str, _cgroups(node, attacker.uid))), addresses=_addresses(),
    )  # fmt: skip


def _addresses(table: Path = Path("/proc/net/fib_trie")) -> tuple[str, ...]:
    """The machine's own IPv4 addresses without loopback: a leaf's line, then what it is."""
    found, leaf = [], ""
    for line in table.read_text().splitlines():
        words = line.split()
        if words[0] == "|--":
            leaf = words[1]
        elif words == ["/32", "host", "LOCAL"] and not leaf.startswith("127."):
            found.append(leaf)
    return tuple(dict.fromkeys(found))


def _serve(made: Arena) -> Neighbour:
    """Start the victim's services by a vassal of its own; wait until they answer."""
    node, victim, secret = made.node, made.victim, secrets.token_hex(16)
    made.put(victim, "secret.txt", secret.encode())
    made.ssh(victim, "chmod 755 . && chmod 644 secret.txt && cp secret.txt /tmp/")
    command = f"/usr/bin/python3 {victim.home}/attacks.pyz --victim {secret} {PORT}"
    made.put(victim, "vassals/victim.ini", daemon_vassal(command).encode())
    _until("the neighbour serves", lambda: _pid_with(made, secret) > 0, node)
    return _neighbour(node, victim, secret, _pid_with(made, secret))


def _pid_with(made: Arena, secret: str) -> int:
    """The machine's number of the victim's process whose environment holds the secret; 0: none."""
    look = f"test -S /tmp/victim.sock && grep -q :{PORT:04X} /proc/net/tcp6"
    listening = made.ssh(made.victim, look)
    if listening.returncode != 0:
        return 0
    with contextlib.suppress(OSError, IndexError):
        group = _cgroups(made.node, made.victim.uid)[0]
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                if f"SECRET={secret}".encode() in environment.split(b"\0"):
                    return int(pid)
    return 0


def _cgroups(node: Node, uid: int) -> tuple[Path, ...]:
    with contextlib.suppress(KernelError):
        return namespaces.read_cgroups(node.paths.cgroups(uid))
    return ()


def _ip(node: Node, uid: int) -> str:
    return str(identity.address_of(uid, node.settings.ip_network))


def _domain(node: Node, uid: int) -> str:
    found = _call(node, "GET", f"/api/v1/containers/{uid}")
    return str(found["domain"])


def _lets_in(made: Arena, side: Party) -> bool:
    return made.ssh(side, "test -d vassals").returncode == 0


def _until(what: str, is_true: Callable[[], bool], node: Node) -> None:
    hint = f"see {service.log_place(node)}"
    wait.until(what, is_true, seconds=_WAIT_SECONDS, hint=hint)


def _refuse_real_customers(node: Node) -> None:
    """Delete nobody's data, and let nobody in who has a token of one side."""
    for name in (ATTACKER, VICTIM):
        real = [item["name"] for item in _containers(node, name) if item["state"] == "running"]
        real = [item for item in real if not re.fullmatch(f"{name}-[0-9a-f]{{6}}", item)]
        if real:
            raise PreparationError(
                f"the customer {name} has a container {real[0]} that no isolation run has made",
                "runs delete what this customer has: make the container for another customer",
            )
        for token in _tokens(node, name):
            if token["name"] != TOKEN:
                raise PreparationError(
                    f"somebody has a token of the customer {name} and could change its containers",
                    f"insula customer revoke {name} {token['id']}",
                )


def _tokens(node: Node, customer: str) -> list[dict[str, Any]]:
    return _listed(node, f"/api/v1/customers/{customer}/tokens")


def _tidy(node: Node) -> None:
    """Destroy what such runs have made, and delete what it left, without a word when none is."""
    for name in (ATTACKER, VICTIM):
        for token in _tokens(node, name):
            _call(node, "DELETE", f"/api/v1/customers/{name}/tokens/{token['id']}")
    made = [item for name in (ATTACKER, VICTIM) for item in _containers(node, name)]
    uids = [int(item["uid"]) for item in made if item["state"] == "running"]
    for uid in uids:
        _call(node, "DELETE", f"/api/v1/containers/{uid}")
    gone = partial(_are_gone, node, uids)
    _until("both containers are gone", gone, node)
    # also of a run that was killed between the two
    every = {int(item["uid"]) for item in made}
    names = [item.name for item in removed.listed(node) if item.uid in every]
    removed.purge(node, names)


def _are_gone(node: Node, uids: list[int]) -> bool:
    return not any((node.paths.containers / str(uid)).exists() for uid in uids)


def _containers(node: Node, customer: str) -> list[dict[str, Any]]:
    return _listed(node, f"/api/v1/containers?customer={customer}&state=all")


def _listed(node: Node, url: str) -> list[dict[str, Any]]:
    """A list of the API; empty while there is no such customer."""
    try:
        found = _call(node, "GET", url)
    except FeedError as error:
        if " 404 " in str(error):
            return []
        raise
    return [item for item in found if isinstance(item, dict)]


def _call(node: Node, method: str, url: str, body: object = None) -> Any:
    return api.call(node.paths.api_operator / "api.sock", method, url, body, timeout=30.0)
