"""Carries out one effect on the real node."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, assert_never

from insula.configurator import effects
from insula.configurator.actual import Kernel, firewall_file
from insula.configurator.effects import Effect, staged_vassal
from insula.configurator.files import Directory
from insula.emperor.daemon.files import write_atomic
from insula.emperor.kernel import firewall, lxcfs_group, tables
from insula.emperor.settings import Node
from insula.emperor.storage import layout

STOP_SECONDS = 3.0


class Hands(Protocol):
    """What can change a node. Each method raises InsulaError or OSError when it fails."""

    def prepare(self) -> None: ...

    def do(self, effect: Effect) -> None: ...

    def wake(self) -> object: ...


@dataclass(frozen=True)
class NodeHands:
    """The hands of one real node; ``waker`` tells the containers Emperor to look."""

    node: Node
    kernel: Kernel
    waker: Callable[[], object]

    def prepare(self) -> None:
        """Have what all containers need: pool, forwarding, kernel tables, cgroups, places.

        Twice is once.
        """
        paths = self.node.paths
        self.kernel.storage.prepare()
        self.kernel.network.prepare()
        tables.enlarge()
        # a kernel that cannot count goes on without: the doctor says so
        firewall.limit_connections(table=self.node.nft_table, prefix=self.node.link_prefix)
        self.kernel.cgroups.prepare()
        lxcfs_group.limit(lxcfs_group.paths_of(self.kernel.cgroups))
        for path, mode in (
            (paths.extrausers, 0o755),
            (paths.container_files(0).parent, 0o755),
            (paths.boot_ini(0).parent, 0o755),
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

    def wake(self) -> object:
        return self.waker()

    def do(self, effect: Effect) -> None:
        """Do one step. Raises InsulaError or OSError."""
        kernel = self.kernel
        match effect:
            case effects.LoadTable(text):
                firewall.load(text)
                write_atomic(firewall_file(self.node), text.encode(), mode=0o600)
            case effects.WriteFile(file):
                write_atomic(file.path, file.data, mode=file.mode, group=file.group)
            case effects.MakeDirectory(directory):
                _make(directory)
            case effects.MakeHome(uid, storage_bytes):
                kernel.storage.create_container(uid, storage_bytes)
            case effects.LimitHome(uid, storage_bytes):
                kernel.storage.resize(uid, storage_bytes)
            case effects.MakeLink(uid):
                kernel.network.ensure(uid)
            case effects.LimitGroup(customer_id, uid, limits):
                kernel.cgroups.limit(customer_id, uid, limits)
            case effects.StageVassal(uid, text):
                staged_vassal(self.node, uid).unlink(missing_ok=True)
                write_atomic(staged_vassal(self.node, uid), text.encode())
            case effects.PublishVassal(uid):
                self._publish(uid)
            case effects.Wake():
                self.wake()
            case effects.AwaitEnd(customer_id, uid):
                self._await_end(customer_id, uid)
            case effects.Reap(customer_id, uid):
                kernel.cgroups.reap(customer_id, uid)
            case effects.RemoveGroup(customer_id, uid):
                kernel.cgroups.remove(customer_id, uid)
            case effects.RemoveLink(uid):
                kernel.network.remove(uid)
            case effects.RemoveFile(path):
                path.unlink(missing_ok=True)
            case effects.RemoveDirectory(path):
                layout.remove_tree(path)
            case effects.SetAside(uid):
                kernel.storage.set_aside(uid, at=time.time())
            case _:
                assert_never(effect)

    def _publish(self, uid: int) -> None:
        """The Emperor compares whole seconds (core/emperor.c): a change within one is dated ahead.

        The clock may also have gone back since the file before was written.
        """
        target, staged = self.node.paths.vassals / f"{uid}.ini", staged_vassal(self.node, uid)
        try:
            before = int(os.lstat(target).st_mtime)
        except FileNotFoundError:
            before = 0
        if int(time.time()) <= before:
            os.utime(staged, (before + 1, before + 1))
        os.rename(staged, target)

    def _await_end(self, customer_id: int, uid: int) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while self.kernel.cgroups.pids(customer_id, uid) and time.monotonic() < deadline:
            time.sleep(0.02)


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
