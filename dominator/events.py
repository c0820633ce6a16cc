"""What the gate is told and what it wants done, as plain values."""

from dataclasses import dataclass, field

from insula.dominator.ownership import Ownership
from insula.dominator.packet import Packet

# Which processes the router has now; None while there is none.
RouterIdentity = tuple[object, ...] | None


@dataclass(frozen=True, slots=True)
class Clock:
    """One moment: unix seconds, which packets carry, and monotonic ones, which measure time."""

    unix: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Started:
    """A gate begins with what the last one left; ``accepted`` is None when nothing was kept."""

    ownership: Ownership
    table: bytes
    journal: bytes
    accepted: bytes | None


@dataclass(frozen=True, slots=True)
class Owned:
    """The desired state is a new one."""

    ownership: Ownership


@dataclass(frozen=True, slots=True)
class Heard:
    """A datagram came; ``packet`` is None when it is malformed.

    ``sender_uid`` is the kernel's word. ``is_socket``: the address names a socket which is the
    container's own file.
    """

    socket_uid: int
    sender_uid: int
    packet: Packet | None
    is_socket: bool


@dataclass(frozen=True, slots=True)
class Paused:
    """A container announces too often and is not read for a while."""

    uid: int


@dataclass(frozen=True, slots=True)
class Round:
    """Half a second is over."""

    router: RouterIdentity


@dataclass(frozen=True, slots=True)
class Replayed:
    """The answer to AskRouter: every packet before it was sent or has failed."""

    router: RouterIdentity


@dataclass(frozen=True, slots=True)
class Unsaved:
    """The table could not be saved; the journal may lack what it says."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The process ends by itself."""


@dataclass(frozen=True, slots=True)
class Send:
    """Tell the router; a success comes back as the event Took."""

    key: str
    address: str
    packet: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Took:
    """The router has the packet."""

    sent: Send


@dataclass(frozen=True, slots=True)
class AskRouter:
    """Look at the router again; the answer comes back as the event Replayed."""


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep that a packet was accepted: a killed gate's successor must refuse it too."""

    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForgetAccepted:
    """Drop the older half of what was remembered; its packets are too old to come again.

    ``ahead`` are the records of those that are not, because the clock went back: they stay.
    """

    ahead: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Keep:
    """Add a line to the journal of the table."""

    line: bytes


@dataclass(frozen=True, slots=True)
class SaveTable:
    """Replace the table's file."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClearJournal:
    """Empty the journal: the saved table says all of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell an app, at its own notify socket."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the container's trace."""

    uid: int
    generation: int
    step: str
    detail: str
    is_ok: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the log."""

    level: str
    event: str
    fields: dict[str, object]


Event = Started | Owned | Heard | Paused | Round | Replayed | Took | Unsaved | Stopping
Effect = (
    Send
    | AskRouter
    | Remember
    | ForgetAccepted
    | Keep
    | SaveTable
    | ClearJournal
    | Answer
    | Step
    | Note
)
