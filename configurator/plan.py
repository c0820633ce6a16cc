"""Decides, without touching anything: desired and actual in, an ordered list of actions out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from insula.configurator.actual import Actual, ContainerActual
from insula.configurator.files import (
    Directory,
    File,
    container_files,
    directories,
    extrausers,
)
from insula.configurator.keypair import belong_together
from insula.emperor.distros import ground
from insula.emperor.errors import FeedError, StorageError
from insula.emperor.kernel import firewall
from insula.emperor.kernel.cgroup import Limits
from insula.emperor.settings import Node
from insula.vassals import grammar, identity
from insula.vassals.errors import GrammarError, InsulaError
from insula.vassals.render import Vassal
from insula.vassals.spec import ContainerSpec

_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LoadFirewall:
    text: str = field(repr=False)

    def describe(self) -> str:
        return "load the firewall"


@dataclass(frozen=True, slots=True)
class WriteAccounts:
    files: tuple[File, ...]

    def describe(self) -> str:
        return "write the containers' accounts for sshd"


@dataclass(frozen=True, slots=True)
class MakeStorage:
    uid: int
    storage_bytes: int
    step = "storage-ready"

    def describe(self) -> str:
        return f"{self.uid}: make a home of {self.storage_bytes} bytes"


@dataclass(frozen=True, slots=True)
class ResizeStorage:
    uid: int
    storage_bytes: int
    step = "storage-ready"

    def describe(self) -> str:
        return f"{self.uid}: limit the home to {self.storage_bytes} bytes"


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    uid: int
    step = "network-ready"

    def describe(self) -> str:
        return f"{self.uid}: make the network"


@dataclass(frozen=True, slots=True)
class SetLimits:
    uid: int
    customer_id: int
    limits: Limits
    is_first: bool
    step = "limits-ready"

    def describe(self) -> str:
        return (
            f"{self.uid}: limit memory to {self.limits.memory_bytes} bytes, cpu to "
            f"{self.limits.cpu_percent} %, processes to {self.limits.pids_max}"
        )


@dataclass(frozen=True, slots=True)
class WriteFiles:
    uid: int
    directories: tuple[Directory, ...]
    files: tuple[File, ...]
    step = "files-ready"

    def describe(self) -> str:
        names = ", ".join(_short(item.path) for item in self.files) or "directories"
        return f"{self.uid}: write {names}"


@dataclass(frozen=True, slots=True)
class WriteVassal:
    uid: int
    generation: int
    text: str = field(repr=False)
    step = "vassal-written"

    def describe(self) -> str:
        return f"{self.uid}: write the vassal file of generation {self.generation}"


@dataclass(frozen=True, slots=True)
class Destroy:
    uid: int
    customer_id: int
    step = "stopped"

    def describe(self) -> str:
        return f"{self.uid}: stop, take away, set the home aside"


ContainerAction = (
    MakeStorage | ResizeStorage | MakeNetwork | SetLimits | WriteFiles | WriteVassal | Destroy
)
NodeAction = LoadFirewall | WriteAccounts
Action = NodeAction | ContainerAction


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order; ``refused`` says which containers are left alone, and why.

    ``remarks``: what a container's owner should know although it runs.
    """

    actions: tuple[Action, ...]
    refused: dict[int, InsulaError]
    remarks: dict[int, str] = field(default_factory=dict)


def plan(
    node: Node,
    specs: tuple[ContainerSpec, ...],
    actual: Actual,
    *,
    everyone: tuple[ContainerSpec, ...],
    public_keys: Mapping[int, str],
) -> Plan:
    """The actions that make ``specs`` true; ``everyone`` is all that the node should have.

    ``public_keys`` are the customers', with which the gate checks what their apps sign.

    The firewall and the accounts come first, then each container with its vassal file last, then
    what is destroyed. What no spec mentions is left as it is.
    """
    actions: list[Action] = list(_node_actions(node, everyone, actual))
    refused: dict[int, InsulaError] = {}
    for spec in specs:
        if spec.state == "running":
            try:
                _refuse_stale_key(node, spec, actual, public_keys)
                actions += _container_actions(node, spec, actual)
            except InsulaError as error:
                refused[spec.uid] = error
    actions += [
        Destroy(spec.uid, spec.customer_id)
        for spec in specs
        if spec.state == "destroyed"
        and spec.uid != identity.API_UID
        and actual.containers[spec.uid].is_there
    ]
    return Plan(tuple(actions), refused, _remarks(specs, actual))


def _remarks(specs: tuple[ContainerSpec, ...], actual: Actual) -> dict[int, str]:
    return {
        spec.uid: said
        for spec in specs
        if spec.uid in actual.grounds and (said := ground.remark(spec, actual.grounds[spec.uid]))
    }


def limits_of(spec: ContainerSpec) -> Limits:
    """The limits as the kernel keeps them: memory in whole pages."""
    return Limits(
        memory_bytes=spec.memory_bytes // _PAGE_BYTES * _PAGE_BYTES,
        cpu_percent=spec.cpu_percent,
        pids_max=spec.pids_max,
    )


def _node_actions(
    node: Node, everyone: tuple[ContainerSpec, ...], actual: Actual
) -> Iterator[NodeAction]:
    text = firewall.ruleset(
        table=node.nft_table,
        prefix=node.link_prefix,
        network=node.settings.ip_network,
        gateway=node.settings.gateway,
    )
    if actual.firewall != text:
        yield LoadFirewall(text)
    files = extrausers(node, everyone, actual.extrausers)
    changed = tuple(
        item for item in files if actual.extrausers.get(item.path.name) != item.data.decode()
    )
    if changed:
        yield WriteAccounts(changed)


def _container_actions(
    node: Node, spec: ContainerSpec, actual: Actual
) -> Iterator[ContainerAction]:
    check_vassal(node, spec)
    if spec.uid not in actual.grounds:
        raise StorageError(
            f"the distro {spec.distro} is not on this node",
            f"build it here with: insula distro build {spec.distro}",
        )
    uid, found = spec.uid, actual.containers[spec.uid]
    if not found.has_storage:
        yield MakeStorage(uid, spec.storage_bytes)
    elif found.storage_bytes is not None and found.storage_bytes != spec.storage_bytes:
        yield ResizeStorage(uid, spec.storage_bytes)
    if not found.has_network:
        yield MakeNetwork(uid)
    if found.limits != limits_of(spec):
        yield SetLimits(uid, spec.customer_id, limits_of(spec), is_first=found.limits is None)
    files = _changed_files(node, spec, actual, found)
    if files or not found.has_directories:
        yield WriteFiles(uid, directories(node, uid), files)
    # Last, because the Emperor starts the container when it sees this file. The API's own is
    # written by `insula node up`, from which it must be able to start alone.
    if uid != identity.API_UID and found.vassal != spec.vassal.encode():
        yield WriteVassal(uid, spec.generation, spec.vassal)


def _refuse_stale_key(
    node: Node, spec: ContainerSpec, actual: Actual, public_keys: Mapping[int, str]
) -> None:
    """No boot with a key that was replaced: apps read theirs once, and the gate refuses that one.

    A container without any key boots: its apps cannot start, and are tried until it is there.
    """
    found = actual.containers[spec.uid]
    lying = (found.files or {}).get(node.paths.keys(spec.uid) / "signing.pem")
    if (
        found.vassal == spec.vassal.encode()
        or spec.customer_id in actual.signing_keys
        or lying is None
        or spec.customer_id not in public_keys
    ):
        return
    if not belong_together(lying, public_keys[spec.customer_id]):
        raise FeedError(
            f"{spec.uid}: its customer has a new signing key, which is not here yet",
            "it is applied as soon as the API gives the key",
        )


def _changed_files(
    node: Node, spec: ContainerSpec, actual: Actual, found: ContainerActual
) -> tuple[File, ...]:
    wanted = container_files(
        node,
        spec,
        stands_on=actual.grounds[spec.uid],
        resolv_conf=actual.resolv_conf,
        cgroups=found.cgroups,
        signing_key=actual.signing_keys.get(spec.customer_id),
    )
    present = found.files or {}
    return tuple(item for item in wanted if present.get(item.path) != item.data)


def check_vassal(node: Node, spec: ContainerSpec) -> None:
    """Raises GrammarError unless the vassal file says what the spec says, and nothing else."""
    if spec.uid == identity.API_UID:
        return
    include = PurePosixPath(node.paths.container_ini)
    found = grammar.check(spec.vassal, uid=spec.uid, container_ini=include)
    wanted = Vassal(
        uid=spec.uid,
        customer_id=spec.customer_id,
        hostname=spec.hostname,
        distro=spec.distro,
        generation=spec.generation,
    )
    if found != wanted:
        raise GrammarError(
            f"vassal file of {spec.uid}: says {found}, the container is {wanted}",
            "the API is broken: its vassal file and its feed differ",
        )


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}" if path.name.isdecimal() else path.name
