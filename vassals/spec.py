"""What should be: the desired state of one node, as the feed carries it.

Every object says its own state. An object that the feed does not mention is left as it is: only an
explicit ``destroyed`` or ``detached`` takes something away, so an empty or cut answer of a
half-started API never removes a container or a route.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from insula.vassals import identity, names
from insula.vassals.errors import InvalidValue

MEBIBYTE = 1024 * 1024
DEFAULT_MEMORY_BYTES = 512 * MEBIBYTE
DEFAULT_CPU_PERCENT = 50
DEFAULT_STORAGE_BYTES = 1024 * MEBIBYTE
DEFAULT_PIDS_MAX = 512
DEFAULT_TIMEZONE = "UTC"
DEFAULT_LOCALE = "C.UTF-8"
MINIMUM_MEMORY_BYTES = 32 * MEBIBYTE
MINIMUM_STORAGE_BYTES = 16 * MEBIBYTE
MAXIMUM_BYTES = 1 << 50

ContainerState = Literal["running", "destroyed"]
DomainState = Literal["attached", "detached"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container as it should be.

    ``generation`` grows with every change that needs a restart and stands in the vassal file;
    ``revision`` is the feed revision of the last change of any kind, ``changed_at`` its time (unix
    seconds, for traces only: never compared). ``cpu_percent`` is of one core, 100 is a whole one.
    ``vassal`` is the text of the vassal file; the node writes it only after ``grammar.check``.
    """

    uid: int
    customer_id: int
    name: str
    hostname: str
    distro: str
    generation: int
    revision: int
    changed_at: float
    memory_bytes: int
    cpu_percent: int
    storage_bytes: int
    pids_max: int
    ssh_keys: tuple[str, ...]
    vassal: str
    state: ContainerState
    # Not in the vassal file, and not in the feeds of older releases, which a node may still keep.
    timezone: str = DEFAULT_TIMEZONE
    locale: str = DEFAULT_LOCALE

    def to_json(self) -> dict[str, object]:
        return {
            "uid": self.uid,
            "customer_id": self.customer_id,
            "name": self.name,
            "hostname": self.hostname,
            "distro": self.distro,
            "generation": self.generation,
            "revision": self.revision,
            "changed_at": self.changed_at,
            "memory_bytes": self.memory_bytes,
            "cpu_percent": self.cpu_percent,
            "storage_bytes": self.storage_bytes,
            "pids_max": self.pids_max,
            "ssh_keys": list(self.ssh_keys),
            "vassal": self.vassal,
            "state": self.state,
            "timezone": self.timezone,
            "locale": self.locale,
        }

    @classmethod
    def from_json(cls, value: object, path: str = "container") -> "ContainerSpec":
        """Read and validate; raises InvalidValue that starts with the path of what is wrong."""
        read = Reader(value, path)
        return cls(
            uid=read.integer("uid", identity.UID_BASE, identity.UID_LAST),
            customer_id=read.integer("customer_id", 0, 1 << 31),
            name=names.label(read.text("name"), path=f"{path}.name"),
            hostname=names.label(read.text("hostname"), path=f"{path}.hostname"),
            distro=token(read.text("distro"), path=f"{path}.distro"),
            generation=read.integer("generation", 1, 1 << 31),
            revision=read.integer("revision", 0, 1 << 62),
            changed_at=read.number("changed_at"),
            memory_bytes=read.integer("memory_bytes", MINIMUM_MEMORY_BYTES, MAXIMUM_BYTES),
            cpu_percent=read.integer("cpu_percent", 1, 100_000),
            storage_bytes=read.integer("storage_bytes", MINIMUM_STORAGE_BYTES, MAXIMUM_BYTES),
            pids_max=read.integer("pids_max", 16, 1 << 22),
            ssh_keys=tuple(
                ssh_key(item, path=f"{path}.ssh_keys[{i}]")
                for i, item in enumerate(read.items("ssh_keys"))
            ),
            vassal=read.text("vassal", 2048),
            state=cast(ContainerState, read.choice("state", ("running", "destroyed"))),
            timezone=names.timezone(
                read.text_or("timezone", DEFAULT_TIMEZONE), path=f"{path}.timezone"
            ),
            locale=names.locale(read.text_or("locale", DEFAULT_LOCALE), path=f"{path}.locale"),
        )


@dataclass(frozen=True, slots=True)
class CustomerSpec:
    """A customer of this node and the public half of the key that signs its announcements."""

    id: int
    name: str
    public_key_pem: str

    def to_json(self) -> dict[str, object]:
        return {"id": self.id, "name": self.name, "public_key_pem": self.public_key_pem}

    @classmethod
    def from_json(cls, value: object, path: str = "customer") -> "CustomerSpec":
        read = Reader(value, path)
        pem = read.text("public_key_pem", 8192)
        if not pem.startswith("-----BEGIN PUBLIC KEY-----\n"):
            raise InvalidValue(f"{path}.public_key_pem: not a PEM public key")
        return cls(
            id=read.integer("id", 0, 1 << 31),
            name=names.label(read.text("name"), path=f"{path}.name"),
            public_key_pem=pem,
        )


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """Who may announce a domain; a leading dot is the wildcard."""

    name: str
    customer_id: int
    state: DomainState

    def to_json(self) -> dict[str, object]:
        return {"name": self.name, "customer_id": self.customer_id, "state": self.state}

    @classmethod
    def from_json(cls, value: object, path: str = "domain") -> "DomainSpec":
        read = Reader(value, path)
        return cls(
            name=names.domain(read.text("name", 255), path=f"{path}.name"),
            customer_id=read.integer("customer_id", 0, 1 << 31),
            state=cast(DomainState, read.choice("state", ("attached", "detached"))),
        )


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The whole desired state of one node at one revision.

    ``installation`` is the random name of the API's database: a node refuses a feed of another one.
    """

    installation: str
    revision: int
    containers: tuple[ContainerSpec, ...]
    customers: tuple[CustomerSpec, ...]
    domains: tuple[DomainSpec, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "installation": self.installation,
            "revision": self.revision,
            "containers": [item.to_json() for item in self.containers],
            "customers": [item.to_json() for item in self.customers],
            "domains": [item.to_json() for item in self.domains],
        }

    @classmethod
    def from_json(cls, value: object, path: str = "feed") -> "DesiredState":
        """Read a snapshot; one broken object refuses the whole: nothing half-read is applied."""
        read = Reader(value, path)
        return cls(
            installation=token(read.text("installation"), path=f"{path}.installation"),
            revision=read.integer("revision", 0, 1 << 62),
            containers=read.objects("containers", ContainerSpec.from_json),
            customers=read.objects("customers", CustomerSpec.from_json),
            domains=read.objects("domains", DomainSpec.from_json),
        )


class Reader:
    """Reads the fields of one JSON object; each error starts with the path to the value."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise InvalidValue(f"{path}: should be an object, is {type(value).__name__}")
        self.value = value
        self.path = path

    def field(self, key: str) -> object:
        if key not in self.value:
            raise InvalidValue(f"{self.path}.{key}: is missing")
        return cast(object, self.value[key])

    def text(self, key: str, length: int = 256) -> str:
        value = self.field(key)
        if not isinstance(value, str) or len(value) > length:
            raise InvalidValue(f"{self.path}.{key}: should be text of at most {length} characters")
        # JSON can hold half a surrogate pair, which no file and no packet can.
        if value.encode(errors="replace").decode() != value:
            raise InvalidValue(f"{self.path}.{key}: should be text that UTF-8 can hold")
        return value

    def text_or(self, key: str, default: str) -> str:
        """The text, or the default where the writer is too old to know the field."""
        return self.text(key) if key in self.value else default

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.field(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidValue(f"{self.path}.{key}: should be a whole number from {low} to {high}")
        return value

    def number(self, key: str) -> float:
        value = self.field(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InvalidValue(f"{self.path}.{key}: should be a number")
        # Python's JSON knows NaN and Infinity, and whole numbers that no float can hold.
        if not abs(value) < 1 << 62:
            raise InvalidValue(f"{self.path}.{key}: should be a number below 2^62")
        return float(value)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.field(key)
        if not isinstance(value, str) or value not in choices:
            raise InvalidValue(f"{self.path}.{key}: should be one of {', '.join(choices)}")
        return value

    def items(self, key: str) -> list[object]:
        value = self.field(key)
        if not isinstance(value, list):
            raise InvalidValue(f"{self.path}.{key}: should be a list")
        return value

    def objects(self, key: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
        return tuple(
            read(item, f"{self.path}.{key}[{i}]") for i, item in enumerate(self.items(key))
        )


def token(text: str, *, path: str) -> str:
    """Return the text if it may stand in a vassal file; raises InvalidValue, naming ``path``."""
    if not names.is_token(text):
        raise InvalidValue(f"{path}: {text!r} should be 1 to 64 of A-Z a-z 0-9 . _ -")
    return text


SSH_KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def ssh_key(value: object, *, path: str) -> str:
    """Return one public key line ``TYPE BASE64 [comment]`` without options, on one line.

    Options such as ``command=`` are refused: the line ends in a file that sshd reads for the uid.
    Raises InvalidValue, naming ``path``.
    """
    hint = "paste one line of a .pub file, for instance ssh-ed25519 AAAA… me@laptop"
    if not isinstance(value, str) or len(value) > 16384:
        raise InvalidValue(f"{path}: should be one public key line", hint)
    words = value.strip().split(" ", 2)
    if len(words) < 2 or words[0] not in SSH_KEY_TYPES or not set(words[1]) <= _BASE64:
        raise InvalidValue(f"{path}: is not a public key line", hint)
    if not value.strip().isprintable():
        raise InvalidValue(f"{path}: holds a line break or control character", hint)
    return " ".join(words)
