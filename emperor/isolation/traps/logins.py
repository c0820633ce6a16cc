"""Before and at a login: whose keys are read, by whom, for how long, and what comes along."""

import contextlib
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from insula.emperor.command import run
from insula.emperor.isolation.arena import Arena
from insula.emperor.isolation.attacks.contract import Held
from insula.emperor.isolation.traps import inside
from insula.emperor.isolation.traps.contract import trap
from insula.emperor.settings import COLLECTOR_UID, DOMINATOR_UID, NODE_GID, ROUTER_UID
from insula.vassals.identity import API_UID

# sshd itself gives up after 20 s (LoginGraceTime).
_LONGEST_SECONDS = 15.0
# A login that is held up lasts so many times a plain refusal, at least.
_SLOWER, _LEAST_SECONDS = 10.0, 3.0
_KEYS = ".ssh/authorized_keys"
# sshd's own names for the machine's places (emperor/sshd.py)
_SSHD_ETC = "/etc/ssh"


@trap
def link_authorized_keys(made: Arena) -> str:
    """A link to root's own file, which holds the key of a stranger: does it let the stranger in?"""
    canary = made.node.paths.ssh / "isolation-canary"
    with _stranger(made) as key:
        canary.touch(mode=0o600)
        try:
            canary.write_text(key.with_suffix(".pub").read_text())
            for target in (f"{_SSHD_ETC}/{canary.name}", str(canary)):
                with _in_place_of_keys(made, f"ln -s {target} {_KEYS}"):
                    if _lets_in(made, key, made.attacker.uid):
                        return f"root read its own file through ~/{_KEYS}"
        finally:
            canary.unlink(missing_ok=True)
    raise Held("no login with a key that stands in root's file only")


@trap
def endless_authorized_keys(made: Arena) -> str:
    """A pipe, an endless file, a huge hole, a directory: does a login wait, or sshd grow?"""
    times = []
    with _stranger(made) as key:
        begin = time.monotonic()
        _lets_in(made, key, made.attacker.uid)
        plain = time.monotonic() - begin
        limit = min(max(plain * _SLOWER, _LEAST_SECONDS), _LONGEST_SECONDS)
        for name, command in _ODD_FILES.items():
            with _in_place_of_keys(made, command):
                begin = time.monotonic()
                if _lets_in(made, key, made.attacker.uid, seconds=limit):
                    return f"a stranger was let in by {name}"
                seconds = time.monotonic() - begin
            if seconds >= limit:
                return f"{name} held a login up for {seconds:.0f} s, plain ones take {plain:.1f} s"
            times.append(f"{name} {seconds:.1f} s")
    raise Held(f"refused: {', '.join(times)}")


_ODD_FILES = {
    "a pipe": f"mkfifo {_KEYS}",
    "an endless file": f"ln -s /dev/zero {_KEYS}",
    "a hole of 1 TiB": f"truncate -s 1T {_KEYS}",
    "a directory": f"mkdir {_KEYS}",
}


@trap
def log_in_as_neighbour(made: Arena) -> str:
    """With a key that is ours alone: as the neighbour, as the API, as root and the platform."""
    refused = []
    with _stranger(made) as key:
        public = key.with_suffix(".pub").read_text().strip()
        # a certificate's authority and options would count for others, were they read for them
        lines = f'{public}\ncert-authority,principals="{made.victim.uid},root" {public}\n'
        command = f"umask 077; echo '{lines}' > {_KEYS}"
        with _in_place_of_keys(made, command):
            if not _lets_in(made, key, made.attacker.uid):
                raise ValueError("our own key does not open our own container")
            others = (made.victim.uid, API_UID, "root", ROUTER_UID, DOMINATOR_UID, COLLECTOR_UID,
                      NODE_GID, 0, f"0{made.victim.uid}", "sshd", "nobody")  # fmt: skip
            for account in others:
                if _lets_in(made, key, account):
                    return f"our own key opened the account {account}"
                refused.append(str(account))
    raise Held(f"refused as {', '.join(refused)}")


@trap
def set_environment(made: Arena) -> str:
    """Variables that make programs load code: from the client, a file, a key's options."""
    names = ("LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "GIT_SSH_COMMAND", "PYTHONPATH", "PATH")
    word = secrets.token_hex(8)
    sent = [f"-oSetEnv={' '.join(f'{name}=/tmp/{word}' for name in names)}"]
    wanted = " ".join(f"{name}=/tmp/{word}" for name in names).replace(" ", "\\n")
    with _stranger(made) as key:
        public = key.with_suffix(".pub").read_text().strip()
        command = (
            f"umask 077; printf '{wanted}\\n' > .ssh/environment;"
            f" echo 'environment=\"LD_PRELOAD=/tmp/{word}\" {public}' > {_KEYS}"
        )
        with _in_place_of_keys(made, command):
            done = subprocess.run(
                [*_words(made, key, made.attacker.uid, *sent), "env"],
                capture_output=True, timeout=60, check=False,
            )  # fmt: skip
        made.ssh(made.attacker, "rm -f .ssh/environment")
    if word in done.stdout.decode(errors="replace"):
        lines = [line for line in done.stdout.decode().splitlines() if word in line]
        return f"a login has {lines[0]}"
    raise Held("no variable of ours is in a login's environment")


@contextlib.contextmanager
def _stranger(made: Arena) -> Iterator[Path]:
    """A key that nobody knows."""
    place = made.node.paths.run / "isolation" / "keys" / "stranger"
    place.mkdir(mode=0o700)
    try:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / "id")])
        yield place / "id"
    finally:
        shutil.rmtree(place)


@contextlib.contextmanager
def _in_place_of_keys(made: Arena, command: str) -> Iterator[None]:
    """What the attacker puts where its list of keys should be; the platform's list stays."""
    inside.shell(made, made.attacker, "sh", "-c", f"rm -rf {_KEYS}; {command}")
    try:
        yield
    finally:
        inside.shell(made, made.attacker, "rm", "-rf", _KEYS)


def _words(made: Arena, key: Path, account: object, *options: str) -> list[str]:
    return [
        "ssh", "-F", "none", "-q", "-i", str(key), "-p", str(made.node.settings.ssh_port),
        *(f"-o{option}" for option in _OPTIONS), *options, f"{account}@127.0.0.1",
    ]  # fmt: skip


_OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
    "IdentitiesOnly=yes", "IdentityAgent=none", f"ConnectTimeout={int(_LONGEST_SECONDS)}",
)  # fmt: skip


def _lets_in(made: Arena, key: Path, account: object, *, seconds: float = _LONGEST_SECONDS) -> bool:
    """Whether a command runs; a login that takes longer is given up."""
    try:
        done = subprocess.run(
            [*_words(made, key, account), "echo in"],
            capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return done.stdout == b"in\n"
