"""What an attack is: a function that proves it got through, or meets a refusal.

This package is copied into a container and runs on its Python, so it imports nothing but the
standard library (Python 3.11 and later) and itself, by the names they have here.
"""

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any, Final, Literal

HELD: Final = "held"
THROUGH: Final = "through"
ABSENT: Final = "absent"
FAILED: Final = "failed"
Verdict = Literal["held", "through", "absent", "failed"]
# A limit for what hangs: 80 processes on half of a slow processor take 20 s to begin with.
SECONDS = 60


class Held(Exception):
    """A wall stood; the text says which answer it gave."""


class TooLate(Exception):
    """The attack has not ended in time, so it tells nothing."""


class Absent(Exception):
    """This kernel does not have what would be attacked; the text says what is missing."""


@dataclass(frozen=True)
class Own:
    """The attacker's container."""

    uid: int
    home: str
    hostname: str
    ip: str
    memory_bytes: int
    pids: int
    cpu_percent: int
    disk_bytes: int
    domain: str


@dataclass(frozen=True)
class Neighbour:
    """The other customer's container, whose files, processes and sockets are the targets.

    ``secret`` stands in ``~/secret.txt`` (mode 0644, as careless as customers are), in the
    environment of process ``pid`` (a number of the machine's own pid namespace) and is what its
    services answer: TCP and UDP at ``port`` of ``ip`` and of every IPv6 address it has, a socket
    file ``/tmp/victim.sock`` and an abstract socket ``victim-<uid>``. It has a System V shared
    memory segment with key ``port``, mode 0666, that begins with the secret.
    """

    uid: int
    secret: str
    outside: str  # its directory on the machine: home/, tmp/, sockets/ lie there
    pid: int
    ip: str
    port: int
    domain: str


@dataclass(frozen=True)
class Machine:
    """The machine below: what an attacker would look for there.

    ``secret`` stands in the file ``canary`` (root's, mode 0600), which only root may read.
    """

    root: str  # the node's root directory, / on most machines
    canary: str
    secret: str
    emperor_pid: int
    gateway: str
    ports: tuple[int, ...]  # what listens there: router, sshd and others
    cgroups: tuple[str, ...]  # the attacker's own groups, as the machine sees them
    addresses: tuple[str, ...] = ()  # the machine's own, loopback left out


@dataclass(frozen=True)
class Targets:
    """What the attacks aim at; everything that a well informed attacker would know."""

    own: Own
    neighbour: Neighbour
    machine: Machine

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Targets":
        found = json.loads(text)
        machine = found["machine"]
        machine |= {key: tuple(machine[key]) for key in ("ports", "cgroups", "addresses")}
        return cls(Own(**found["own"]), Neighbour(**found["neighbour"]), Machine(**machine))


Attack = Callable[[Targets], str]


@dataclass(frozen=True)
class Registered:
    """An attack as the table knows it."""

    name: str
    attack: Attack
    killed_is_held: bool


ATTACKS: dict[str, Registered] = {}


def attack(function: Attack) -> Attack:
    """Register a function; its name with dashes is the probe's.

    It returns what it got hold of, which is the proof that no wall stood; it raises OSError or
    Held when it was refused, Absent when the kernel does not have the thing at all. Whatever else
    it raises makes the probe fail. It does no harm where it gets through, also as root on the
    machine, and ends within SECONDS.
    """
    _register(function, killed_is_held=False)
    return function


def greedy_attack(function: Attack) -> Attack:
    """Like ``attack``, for one that the kernel may answer by killing it (memory)."""
    _register(function, killed_is_held=True)
    return function


def _register(function: Attack, *, killed_is_held: bool) -> None:
    name = function.__name__.replace("_", "-")
    if name in ATTACKS:
        raise ValueError(f"two attacks are called {name}")
    ATTACKS[name] = Registered(name, function, killed_is_held)


def any_of(tries: Sequence[Callable[[], str]]) -> str:
    """The proof of the first try that gets through; raises Held with all refusals.

    Raises ValueError for no tries at all, which would prove nothing.
    """
    if not tries:
        raise ValueError("there is nothing to try")
    refusals: list[str] = []
    for one in tries:
        try:
            return one()
        except (OSError, Held) as error:
            if str(error) not in refusals:
                refusals.append(str(error))
    raise Held("; ".join(refusals[:4]))


def past_permission(call: Callable[[], object], answers: tuple[int, ...], proof: str) -> str:
    """Make a call that must fail with one of ``answers`` once the kernel lets us make it."""
    try:
        call()
    except OSError as error:
        if error.errno not in answers:
            raise
        return f"{proof}: only then came {errno.errorcode[error.errno]}"
    return proof


@dataclass(frozen=True)
class Outcome:
    """How one attack went."""

    name: str
    verdict: Verdict
    reason: str
    seconds: float


def run(registered: Registered, targets: Targets) -> Outcome:
    """Run one attack in a process of its own, so that it can be killed and leaves nothing."""
    begin = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _attack_and_tell(registered, targets, writer)
    os.close(writer)
    said = b""
    while chunk := os.read(reader, 65536):
        said += chunk
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    verdict, reason = _judge(registered, said, status)
    return Outcome(registered.name, verdict, reason, round(time.monotonic() - begin, 3))


def _judge(registered: Registered, said: bytes, status: int) -> tuple[Verdict, str]:
    if said:
        told: dict[str, Any] = json.loads(said)
        return told["verdict"], told["reason"]
    if status == -signal.SIGKILL and registered.killed_is_held:
        return HELD, "killed by the kernel"
    return FAILED, f"it ended with {status} and said nothing"


def _attack_and_tell(registered: Registered, targets: Targets, writer: int) -> None:
    verdict: Verdict
    try:
        # a session of its own: what it leaves behind is ended with it
        os.setsid()
        signal.signal(signal.SIGALRM, _too_late)
        signal.alarm(SECONDS)
        verdict, reason = THROUGH, registered.attack(targets)
    except (OSError, Held) as error:
        verdict, reason = HELD, str(error)
    except Absent as error:
        verdict, reason = ABSENT, str(error)
    except BaseException as error:
        verdict, reason = FAILED, f"{type(error).__name__}: {error}"
    signal.alarm(0)
    os.write(writer, json.dumps({"verdict": verdict, "reason": reason[:500]}).encode())
    os._exit(0)


def _too_late(_number: int, _frame: FrameType | None) -> None:
    raise TooLate(f"no end after {SECONDS} s")


def say(outcome: Outcome) -> None:
    """One line of JSON on standard output."""
    print(json.dumps(asdict(outcome)), flush=True)
