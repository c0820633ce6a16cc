"""A node in memory: what the configurator's effects change, and an Emperor that starts containers.

Its effects can fail, be done half, or be the last thing that a killed process did. After each of
them the promises are checked that hold at every moment.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Literal

from insula.configurator import effects
from insula.configurator.actual import Actual, ContainerActual
from insula.configurator.effects import Effect
from insula.configurator.files import Directory, container_files, directories
from insula.emperor.distros.builds import Build
from insula.emperor.distros.ground import Ground
from insula.emperor.errors import KernelError
from insula.emperor.kernel.cgroup import Limits
from insula.emperor.settings import Node
from insula.vassals.spec import ContainerSpec

GROUND = Ground(Build("default", 7), "root:x:0:0::/root:/bin/sh\n", "root:x:0:\n")
RESOLV_CONF = "nameserver 192.0.2.1\n"

# What becomes of one effect. ``torn``: it is done half and fails; ``cut``: half, then the process
# is killed; ``last``: whole, then killed; ``killed``: killed before it.
Fate = Literal["done", "fails", "torn", "cut", "last", "killed"]


class Killed(BaseException):
    """The process is gone; nothing of it runs any more."""


@dataclass
class Home:
    """A home; its ``mark`` stands for the customer's data."""

    mark: int
    limit_bytes: int


@dataclass
class Instance:
    """One running container: the vassal file it was started with."""

    text: bytes
    seconds: int
    is_ending: bool = False


@dataclass
class World:
    """All that outlives a configurator; ``fates`` decides what becomes of the next effects."""

    node: Node
    fates: Iterator[Fate] = field(default_factory=lambda: repeat("done"))
    firewall: str = ""
    firewall_text: str = ""
    homes: dict[int, Home] = field(default_factory=dict)
    aside: list[int] = field(default_factory=list)
    marks: int = 0
    links: set[int] = field(default_factory=set)
    groups: dict[tuple[int, int], Limits | None] = field(default_factory=dict)
    places: dict[Path, Directory] = field(default_factory=dict)
    files: dict[Path, bytes] = field(default_factory=dict)
    seconds: dict[int, int] = field(default_factory=dict)
    running: dict[int, list[Instance]] = field(default_factory=dict)
    customer_of: dict[int, int] = field(default_factory=dict)
    doomed: set[int] = field(default_factory=set)
    texts: set[bytes] = field(default_factory=set)
    boots: dict[int, int] = field(default_factory=dict)
    clock: int = 1000

    def prepare(self) -> None:
        """The places that all containers share are no part of this model."""

    def wake(self) -> None:
        """The Emperor looks when hypothesis says so."""

    def do(self, effect: Effect) -> None:
        fate = next(self.fates)
        if fate == "killed":
            raise Killed
        if fate == "fails":
            raise OSError(errno.ENOSPC, "No space left on device")
        if fate in ("torn", "cut"):
            self._do_half(effect)
            self.check()
            raise Killed if fate == "cut" else KernelError("Device or resource busy")
        self._do(effect)
        self.check()
        if fate == "last":
            raise Killed

    def _do_half(self, effect: Effect) -> None:
        """The steps that are more than one call to the kernel; a rename has no half."""
        match effect:
            case effects.LimitGroup(customer_id, uid, _):
                self.groups.setdefault((customer_id, uid), None)
            case effects.MakeDirectory(directory):
                self.places.setdefault(directory.path, Directory(directory.path, 0o700, 0))
            case effects.LoadTable(text):
                self.firewall = text
            case effects.Reap(_, uid):
                self.running.pop(uid, None)
            case _:
                return

    def _do(self, effect: Effect) -> None:
        match effect:
            case effects.LoadTable(text):
                self.firewall = self.firewall_text = text
            case effects.WriteFile(file):
                self.files[file.path] = file.data
            case effects.MakeDirectory(directory):
                self.places[directory.path] = directory
            case effects.MakeHome(uid, storage_bytes):
                if uid not in self.homes:
                    self.marks += 1
                    self.homes[uid] = Home(self.marks, storage_bytes)
            case effects.LimitHome(uid, storage_bytes):
                self.homes[uid].limit_bytes = storage_bytes
            case effects.MakeLink(uid):
                self.links.add(uid)
            case effects.LimitGroup(customer_id, uid, limits):
                self.groups[customer_id, uid] = limits
            case effects.StageVassal(uid, text):
                self.files[self.vassal(uid, staged=True)] = text.encode()
            case effects.PublishVassal(uid):
                self._publish(uid)
            case effects.Wake() | effects.AwaitEnd():
                return
            case _:
                self._take_away(effect)

    def _publish(self, uid: int) -> None:
        text = self.files.pop(self.vassal(uid, staged=True))
        assert text in self.texts, "the Emperor sees a file that nobody meant"
        assert text != self.files.get(self.vassal(uid)), "a restart that nobody asked for"
        self.files[self.vassal(uid)] = text
        self.seconds[uid] = max(self.clock, self.seconds.get(uid, 0) + 1)

    def _take_away(self, effect: Effect) -> None:
        match effect:
            case effects.Reap(_, uid):
                assert uid in self.doomed, "killed, and nobody said so"
                self.running.pop(uid, None)
            case effects.RemoveGroup(customer_id, uid):
                if self.running.get(uid):
                    raise KernelError("the group is in use")
                self.groups.pop((customer_id, uid), None)
            case effects.RemoveLink(uid):
                assert uid in self.doomed and not self.running.get(uid)
                self.links.discard(uid)
            case effects.RemoveFile(path):
                assert any(str(uid) in path.name for uid in self.doomed)
                self.files.pop(path, None)
            case effects.RemoveDirectory(path):
                assert int(path.name) in self.doomed
                self.places.pop(path, None)
                self.files = {k: v for k, v in self.files.items() if k.parent != path}
            case effects.SetAside(uid):
                assert uid in self.doomed and not self.running.get(uid)
                if uid in self.homes:
                    self.aside.append(self.homes.pop(uid).mark)

    def observe(
        self, specs: list[ContainerSpec], limits: dict[int, int], *, is_full: bool
    ) -> Actual:
        return Actual(
            firewall=self.firewall_text if self.firewall or not is_full else "",
            grounds={spec.uid: GROUND for spec in specs},
            resolv_conf=RESOLV_CONF,
            extrausers={
                name: self.files.get(self.node.paths.extrausers / name, b"").decode()
                for name in ("passwd", "group", "shadow")
            },
            containers={spec.uid: self._container(spec, limits.get(spec.uid)) for spec in specs},
            signing_keys={spec.customer_id: "secret" for spec in specs},
        )

    def _container(self, spec: ContainerSpec, limit: int | None) -> ContainerActual:
        uid = spec.uid
        wanted = container_files(
            self.node, spec, stands_on=GROUND, resolv_conf="", cgroups=(), signing_key=""
        )
        own = {file.path for file in wanted}
        return ContainerActual(
            uid=uid,
            has_storage=uid in self.homes,
            storage_bytes=limit,
            has_network=uid in self.links,
            limits=self.groups.get((spec.customer_id, uid)),
            has_directories=self.has_places(uid),
            files={path: data for path, data in self.files.items() if path in own},
            vassal=self.files.get(self.vassal(uid)),
        )

    def has_places(self, uid: int) -> bool:
        return all(self.places.get(item.path) == item for item in directories(self.node, uid))

    def vassal(self, uid: int, *, staged: bool = False) -> Path:
        return self.node.paths.vassals / (f".{uid}.staged" if staged else f"{uid}.ini")

    def emperor_looks(self) -> None:
        """Start what has a file, end what has none or a newer one; a look finishes the last's."""
        for uid in sorted({*self.running, *self.customer_of}):
            text = self.files.get(self.vassal(uid))
            alive = [item for item in self.running.get(uid, []) if not item.is_ending]
            if alive and (text is None or self.seconds[uid] > alive[0].seconds):
                alive[0].is_ending = True
                continue
            if not alive and text is not None and self._can_boot(uid):
                alive = [Instance(text, self.seconds[uid])]
                self.boots[uid] = self.boots.get(uid, 0) + 1
            self.running[uid] = alive
        self.check()

    def _can_boot(self, uid: int) -> bool:
        """Each hook of container.ini that finds its place missing ends the boot."""
        return (
            (self.customer_of[uid], uid) in self.groups
            and uid in self.links
            and uid in self.homes
            and all(item.path in self.places for item in directories(self.node, uid))
            and self.node.paths.boot_ini(uid) in self.files
        )

    def reap_all(self) -> None:
        self.running.clear()

    def lose_groups(self) -> None:
        """systemd takes its unit's groups away when the unit ends."""
        self.groups.clear()
        self.running.clear()

    def reboot(self) -> None:
        """What lies in the kernel and on the tmpfs is gone."""
        run = self.node.paths.run
        self.lose_groups()
        self.firewall = self.firewall_text = ""
        self.links.clear()
        self.places = {k: v for k, v in self.places.items() if not k.is_relative_to(run)}
        self.files = {k: v for k, v in self.files.items() if not k.is_relative_to(run)}

    def check(self) -> None:
        for uid, instances in self.running.items():
            if not instances:
                continue
            assert len(instances) == 1, "two instances"
            assert self.groups.get((self.customer_of[uid], uid)), "runs without limits"
            assert uid in self.links, "runs without its network"
            assert self.firewall, "runs without a firewall"
            assert uid in self.homes, "runs without its home"
        kept = [home.mark for home in self.homes.values()] + self.aside
        assert sorted(kept) == list(range(1, self.marks + 1)), "a customer's data is lost"
