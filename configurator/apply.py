"""Carries out a plan, action by action; one failing container does not stop the others."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from insula.configurator.actual import Kernel, firewall_file
from insula.configurator.files import Directory, File, directories
from insula.configurator.plan import (
    Action,
    ContainerAction,
    Destroy,
    LoadFirewall,
    MakeNetwork,
    MakeStorage,
    NodeAction,
    Plan,
    ResizeStorage,
    SetLimits,
    WriteAccounts,
    WriteFiles,
    WriteVassal,
)
from insula.emperor.daemon.files import write_atomic
from insula.emperor.daemon.log import Log
from insula.emperor.daemon.trace import Trace
from insula.emperor.kernel import firewall
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError

STOP_SECONDS = 3.0


@dataclass
class Outcome:
    """What became of a plan: each container's error, and when each that boots now was told to."""

    errors: dict[int, str] = field(default_factory=dict)
    written: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Applier:
    """Does what a plan says on one node; ``wake`` tells the containers Emperor to look."""

    node: Node
    kernel: Kernel
    log: Log
    trace: Trace
    wake: Callable[[], object]

    def prepare(self) -> None:
        """Have what all containers need: pool, forwarding, cgroup bases, the platform's places.

        Twice is once.
        """
        paths = self.node.paths
        self.kernel.storage.prepare()
        self.kernel.network.prepare()
        self.kernel.cgroups.prepare()
        for path, mode in (
            (paths.extrausers, 0o755),
            (paths.container_files(0).parent, 0o755),
            (paths.vassals, 0o700),
            (paths.ssh, 0o755),
            (paths.ssh / "authorized_keys", 0o755),
            (paths.roots, 0o711),
            (paths.keys(0).parent, 0o711),
            (paths.subscribe(0).parent, 0o711),
            (paths.cgroups(0).parent, 0o755),
            (paths.trace("configurator", 0).parent, 0o755),
        ):
            if not path.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                os.chmod(path, mode)

    def apply(self, plan: Plan, generations: dict[int, int]) -> Outcome:
        """Carry out every action; after a failure the rest of that container's are left out."""
        outcome = Outcome({uid: _sentence(error) for uid, error in plan.refused.items()})
        for uid, error in plan.refused.items():
            self.log.error("container refused", uid=uid, error=error.message, hint=error.hint)
        for action in plan.actions:
            if isinstance(action, NodeAction):
                self._try_node(action)
            elif action.uid not in outcome.errors:
                self._try_container(action, outcome, generations.get(action.uid, 0))
        return outcome

    def _try_node(self, action: NodeAction) -> None:
        # Without its firewall nothing may start: containers would be open to each other.
        self._do(action)
        self.log.info("applied", action=action.describe())

    def _try_container(self, action: ContainerAction, outcome: Outcome, generation: int) -> None:
        uid, begun_at = action.uid, time.time()
        try:
            self._do(action)
        except (InsulaError, OSError) as error:
            outcome.errors[uid] = _sentence(error)
            self.log.error("action failed", uid=uid, action=action.describe(), error=str(error))
            self.trace.step(
                uid, action.step, generation=generation, state="failed", detail=_sentence(error)
            )
            return
        self.log.info("applied", uid=uid, action=action.describe())
        self.trace.step(uid, action.step, generation=generation)
        if isinstance(action, WriteVassal):
            outcome.written[uid] = begun_at
            self.wake()

    def _do(self, action: Action) -> None:
        match action:
            case LoadFirewall(text):
                firewall.load(text)
                write_atomic(firewall_file(self.node), text.encode(), mode=0o600)
            case WriteAccounts(files):
                for file in files:
                    _write(file)
            case MakeStorage(uid, storage_bytes):
                self.kernel.storage.create_container(uid, storage_bytes)
            case ResizeStorage(uid, storage_bytes):
                self.kernel.storage.resize(uid, storage_bytes)
            case MakeNetwork(uid):
                self.kernel.network.ensure(uid)
            case SetLimits(uid, customer_id, limits):
                self.kernel.cgroups.limit(customer_id, uid, limits)
            case WriteFiles(_, places, files):
                for place in places:
                    _make(place)
                for file in files:
                    _write(file)
            case WriteVassal(uid, _, text):
                self._write_vassal(uid, text)
            case Destroy(uid, customer_id):
                self._destroy(uid, customer_id)

    def _write_vassal(self, uid: int, text: str) -> None:
        """Put the file in place with a time that the Emperor takes for newer.

        It compares whole seconds (core/emperor.c), so a second change within one would be missed.
        """
        target = self.node.paths.vassals / f"{uid}.ini"
        staged = target.with_name(f".{uid}.staged")
        staged.unlink(missing_ok=True)
        write_atomic(staged, text.encode())
        try:
            before = int(os.lstat(target).st_mtime)
        except FileNotFoundError:
            before = 0
        if int(time.time()) <= before:
            os.utime(staged, (before + 1, before + 1))
        os.rename(staged, target)

    def _destroy(self, uid: int, customer_id: int) -> None:
        """Stop first, then take away; in this order so that the Emperor starts nothing again."""
        paths, kernel = self.node.paths, self.kernel
        (paths.vassals / f"{uid}.ini").unlink(missing_ok=True)
        self.wake()
        deadline = time.monotonic() + STOP_SECONDS
        while kernel.cgroups.pids(customer_id, uid) and time.monotonic() < deadline:
            time.sleep(0.02)
        kernel.cgroups.reap(customer_id, uid)
        kernel.cgroups.remove(customer_id, uid)
        kernel.network.remove(uid)
        (paths.ssh / "authorized_keys" / str(uid)).unlink(missing_ok=True)
        paths.cgroups(uid).unlink(missing_ok=True)
        for place in directories(self.node, uid):
            if place.path.is_dir():
                shutil.rmtree(place.path)
        kernel.storage.set_aside(uid, at=time.time())


def _write(file: File) -> None:
    write_atomic(file.path, file.data, mode=file.mode, owner=file.owner, group=file.owner)


def _make(place: Directory) -> None:
    place.path.mkdir(parents=True, exist_ok=True)
    fd = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(fd)
        if (found.st_uid, found.st_mode & 0o7777) != (place.owner, place.mode):
            os.fchown(fd, place.owner, place.owner)
            os.fchmod(fd, place.mode)
    finally:
        os.close(fd)


def _sentence(error: Exception) -> str:
    if not isinstance(error, InsulaError):
        return str(error)
    if error.hint is None:
        return error.message
    return f"{error.message}; {error.hint}"
