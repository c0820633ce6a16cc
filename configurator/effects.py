"""An action as the steps that carry it out, in their order: plain values, nothing is done here.

Each step is whole or not done at all, and doing it again does no harm, so a configurator that is
killed between any two leaves a node from which the next one goes on. What decides whether an action
is still needed comes last in it: the vassal file of a container, the home of a destroyed one.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from insula.configurator.files import Directory, File, directories
from insula.configurator.plan import (
    Action,
    Destroy,
    LoadFirewall,
    MakeNetwork,
    MakeStorage,
    ResizeStorage,
    SetLimits,
    WriteAccounts,
    WriteFiles,
    WriteVassal,
)
from insula.emperor.kernel.cgroup import Limits
from insula.emperor.settings import Node


@dataclass(frozen=True, slots=True)
class LoadTable:
    """Replace the node's firewall in one transaction, then keep its text."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put a file in place by a rename."""

    file: File


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    directory: Directory


@dataclass(frozen=True, slots=True)
class MakeHome:
    uid: int
    storage_bytes: int


@dataclass(frozen=True, slots=True)
class LimitHome:
    uid: int
    storage_bytes: int


@dataclass(frozen=True, slots=True)
class MakeLink:
    """The container's network namespace and its link to the host, whole or made again."""

    uid: int


@dataclass(frozen=True, slots=True)
class LimitGroup:
    customer_id: int
    uid: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class StageVassal:
    """Write the vassal file under a name that the Emperor does not look at."""

    uid: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PublishVassal:
    """Let the Emperor see the staged file, newer than the one before: it starts the container."""

    uid: int


@dataclass(frozen=True, slots=True)
class Wake:
    """Tell the containers Emperor to look."""


@dataclass(frozen=True, slots=True)
class AwaitEnd:
    """Give the Emperor a moment to end the container."""

    customer_id: int
    uid: int


@dataclass(frozen=True, slots=True)
class Reap:
    """Kill what is left of the container and wait until it is dead."""

    customer_id: int
    uid: int


@dataclass(frozen=True, slots=True)
class RemoveGroup:
    customer_id: int
    uid: int


@dataclass(frozen=True, slots=True)
class RemoveLink:
    uid: int


@dataclass(frozen=True, slots=True)
class RemoveFile:
    path: Path


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    path: Path


@dataclass(frozen=True, slots=True)
class SetAside:
    """Move the home to where an operator may still find it."""

    uid: int


Effect = (
    LoadTable
    | WriteFile
    | MakeDirectory
    | MakeHome
    | LimitHome
    | MakeLink
    | LimitGroup
    | StageVassal
    | PublishVassal
    | Wake
    | AwaitEnd
    | Reap
    | RemoveGroup
    | RemoveLink
    | RemoveFile
    | RemoveDirectory
    | SetAside
)


def effects_of(node: Node, action: Action) -> tuple[Effect, ...]:
    """The steps of one action, in the order in which they must be done."""
    match action:
        case LoadFirewall(text):
            return (LoadTable(text),)
        case WriteAccounts(files):
            return tuple(WriteFile(file) for file in files)
        case MakeStorage(uid, storage_bytes):
            return (MakeHome(uid, storage_bytes),)
        case ResizeStorage(uid, storage_bytes):
            return (LimitHome(uid, storage_bytes),)
        case MakeNetwork(uid):
            return (MakeLink(uid),)
        case SetLimits(uid, customer_id, limits):
            return (LimitGroup(customer_id, uid, limits),)
        case WriteFiles(_, places, files):
            return (*(MakeDirectory(place) for place in places), *(WriteFile(f) for f in files))
        case WriteVassal(uid, _, text):
            return (StageVassal(uid, text), PublishVassal(uid), Wake())
        case Destroy(uid, customer_id):
            return _destruction(node, uid, customer_id)
        case _:
            assert_never(action)


def _destruction(node: Node, uid: int, customer_id: int) -> tuple[Effect, ...]:
    """Stop first: without its file the Emperor starts nothing again. The home goes last."""
    paths = node.paths
    return (
        RemoveFile(paths.vassals / f"{uid}.ini"),
        RemoveFile(staged_vassal(node, uid)),
        RemoveFile(paths.ssh / "authorized_keys" / str(uid)),
        Wake(),
        AwaitEnd(customer_id, uid),
        Reap(customer_id, uid),
        RemoveGroup(customer_id, uid),
        RemoveLink(uid),
        RemoveFile(paths.cgroups(uid)),
        RemoveFile(paths.boot_ini(uid)),
        *(RemoveDirectory(place.path) for place in directories(node, uid)),
        SetAside(uid),
    )


def staged_vassal(node: Node, uid: int) -> Path:
    """Where a vassal file waits to be published; no name that the Emperor would look at."""
    return node.paths.vassals / f".{uid}.staged"


def amends_of(action: Action) -> tuple[Effect, ...]:
    """What to do after an action has failed, so that what it left half done is no danger.

    A group without its limits is one that a container could boot into: without the group it cannot.
    """
    if isinstance(action, SetLimits) and action.is_first:
        return (RemoveGroup(action.customer_id, action.uid),)
    return ()
