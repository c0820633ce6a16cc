"""What is: the facts that a node sends to the API, and the steps of a change in a trace."""

from dataclasses import dataclass
from typing import Literal, cast

from insula.vassals.spec import Reader

StepState = Literal["ok", "failed"]

# The steps of one change in the order of the data's way; `insula explain` prints them so.
STEPS = (
    "api-changed",  # the action layer committed the revision
    "feed-received",  # the configurator has the snapshot
    "storage-ready",  # home made or resized
    "network-ready",  # network namespace, veth, addresses
    "limits-ready",  # cgroup made, memory, cpu, pids set
    "files-ready",  # keys, passwd, hosts, resolv.conf, ssh keys
    "vassal-written",  # the vassal file changed on disk
    "cloned",  # the containers Emperor made the namespaces
    "cgroup-joined",
    "root-switched",  # pivot_root done
    "privileges-dropped",
    "sub-emperor-up",
    "announced",  # the gate accepted an announcement; detail is the domain
    "routed",  # the gate told the router; detail is the domain
    "refused",  # the gate refused; detail is reason code and domain
    "stopped",
)


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One step of one change; ``at`` is unix seconds."""

    at: float
    uid: int
    generation: int
    step: str
    state: StepState
    detail: str

    def to_json(self) -> dict[str, object]:
        return {
            "at": self.at,
            "uid": self.uid,
            "generation": self.generation,
            "step": self.step,
            "state": self.state,
            "detail": self.detail,
        }

    @classmethod
    def from_json(cls, value: object, path: str = "event") -> "TraceEvent":
        read = Reader(value, path)
        return cls(
            at=read.number("at"),
            uid=read.integer("uid", 0, 1 << 31),
            generation=read.integer("generation", 0, 1 << 31),
            step=read.choice("step", STEPS),
            state=cast(StepState, read.choice("state", ("ok", "failed"))),
            detail=read.text("detail", 4096),
        )


@dataclass(frozen=True, slots=True)
class ContainerReport:
    """How one container stands on the node.

    ``applied_revision`` is the container's revision that the node has made true; ``error`` is empty
    or one sentence that says what failed and what to do. ``running_since`` is unix seconds, 0 when
    no first process lives. ``disk_used_bytes`` is -1 where the storage driver cannot tell.
    """

    uid: int
    applied_revision: int
    generation: int
    running_since: float
    disk_used_bytes: int
    error: str

    def to_json(self) -> dict[str, object]:
        return {
            "uid": self.uid,
            "applied_revision": self.applied_revision,
            "generation": self.generation,
            "running_since": self.running_since,
            "disk_used_bytes": self.disk_used_bytes,
            "error": self.error,
        }

    @classmethod
    def from_json(cls, value: object, path: str = "container") -> "ContainerReport":
        read = Reader(value, path)
        return cls(
            uid=read.integer("uid", 0, 1 << 31),
            applied_revision=read.integer("applied_revision", 0, 1 << 62),
            generation=read.integer("generation", 0, 1 << 31),
            running_since=read.number("running_since"),
            disk_used_bytes=read.integer("disk_used_bytes", -1, 1 << 62),
            error=read.text("error", 4096),
        )


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What the configurator has applied: sent after each apply and at least once a minute."""

    revision: int
    distros: tuple[str, ...]
    containers: tuple[ContainerReport, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "revision": self.revision,
            "distros": list(self.distros),
            "containers": [item.to_json() for item in self.containers],
        }

    @classmethod
    def from_json(cls, value: object, path: str = "report") -> "NodeReport":
        read = Reader(value, path)
        return cls(
            revision=read.integer("revision", 0, 1 << 62),
            distros=tuple(str(item)[:64] for item in read.items("distros")),
            containers=read.objects("containers", ContainerReport.from_json),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: ``metric`` is a Prometheus name of docs/metrics.md, ``subject`` its label.

    The subject is ``30001`` for a container and the name for a domain; ``at`` is unix seconds.
    """

    at: float
    metric: str
    subject: str
    value: float

    def to_json(self) -> dict[str, object]:
        return {
            "at": self.at,
            "metric": self.metric,
            "subject": self.subject,
            "value": self.value,
        }

    @classmethod
    def from_json(cls, value: object, path: str = "sample") -> "Sample":
        read = Reader(value, path)
        return cls(
            at=read.number("at"),
            metric=read.text("metric", 128),
            subject=read.text("subject", 255),
            value=read.number("value"),
        )
