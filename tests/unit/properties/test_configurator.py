"""Kill the configurator between any two effects, let any fail: the next one converges."""

import dataclasses
import io
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from insula.configurator.actual import Actual, Kernel
from insula.configurator.apply import Applier
from insula.configurator.plan import limits_of
from insula.configurator.reconcile import Reconciler
from insula.emperor.daemon.log import Log
from insula.emperor.daemon.trace import Trace
from insula.emperor.settings import Node, NodeSettings, Paths
from insula.vassals.errors import InsulaError
from insula.vassals.render import Vassal, vassal_file
from insula.vassals.spec import ContainerSpec, DesiredState
from tests.unit.properties.world import Fate, Killed, World

UIDS = (30001, 30002, 30003)
ROOT = TemporaryDirectory(prefix="insula-properties-")  # for the lock; goes with the process
NODE = Node(Paths(Path(ROOT.name)), NodeSettings())
FATES: tuple[Fate, ...] = ("fails", "torn", "cut", "last", "killed")
MEMORY = (64 << 20, 96 << 20)
STORAGE = (32 << 20, 48 << 20)
CHANGES = ("both", "both", "both", "storage", "memory", "keys", "reboot", "destroy")
# Most rounds have few effects, that of a new container some twenty.
PLACES = st.one_of(st.integers(0, 3), st.integers(0, 70))


class Silent(Trace):
    """No steps: the disk is no part of the model."""

    def step(self, *_: object, **__: object) -> None:
        return


class Modelled(Reconciler):
    """The real one; it sees the world of the model instead of this machine."""

    world: World

    def _observe(self, specs: list[ContainerSpec], keys: dict[int, str], *, full: bool) -> Actual:
        return self.world.observe(specs, self._limits, is_full=full)


def start(world: World) -> Modelled:
    """A new process: it knows nothing but what it sees."""
    storage = SimpleNamespace(
        limits=lambda: {uid: home.limit_bytes for uid, home in world.homes.items()}
    )
    kernel = cast(Kernel, SimpleNamespace(storage=storage))
    log = Log("configurator", io.StringIO())
    applier = Applier(world.node, world, log, Silent(world.node.paths, "configurator"))
    found = Modelled(world.node, kernel, None, applier, log)
    found.world = world
    return found


def spec_of(uid: int, **changes: Any) -> ContainerSpec:
    values: dict[str, Any] = {
        "uid": uid, "customer_id": uid % 2 + 1, "name": f"c{uid}", "hostname": f"c{uid}",
        "distro": "default", "generation": 1, "revision": 1, "changed_at": 0.0,
        "memory_bytes": MEMORY[0], "cpu_percent": 50, "storage_bytes": STORAGE[0],
        "pids_max": 64, "ssh_keys": (), "state": "running", "vassal": "",
    } | changes  # fmt: skip
    return with_vassal(ContainerSpec(**values))


def with_vassal(spec: ContainerSpec) -> ContainerSpec:
    vassal = Vassal(spec.uid, spec.customer_id, spec.hostname, spec.distro, spec.generation)
    text = vassal_file(vassal, container_ini=cast(Any, NODE.paths.container_ini))
    return dataclasses.replace(spec, vassal=text)


class Configurator(RuleBasedStateMachine):
    """The API changes, processes die, effects fail, the Emperor looks, in any order."""

    @initialize()
    def begin(self) -> None:
        self.world = World(NODE)
        self.desired = DesiredState("test", 0, (), (), ())
        self.process = start(self.world)
        self.is_fresh = True
        self.emperor_is_up = True

    @rule(uid=st.sampled_from(UIDS))
    def api_creates(self, uid: int) -> None:
        if uid not in self.world.customer_of:
            spec = spec_of(uid, revision=self.desired.revision + 1)
            self.world.customer_of[uid] = spec.customer_id
            self._change(spec)

    @rule(
        uid=st.sampled_from(UIDS),
        change=st.sampled_from(CHANGES),
        which=st.integers(0, 1),
    )
    def api_changes(self, uid: int, change: str, which: int) -> None:
        spec = next((item for item in self.desired.containers if item.uid == uid), None)
        if spec is None or spec.state == "destroyed":
            return
        new: dict[str, dict[str, Any]] = {
            "memory": {"memory_bytes": MEMORY[which]},
            "storage": {"storage_bytes": STORAGE[which]},
            "both": {"memory_bytes": MEMORY[which], "storage_bytes": STORAGE[which]},
            "keys": {"ssh_keys": ("ssh-ed25519 AAAA me",) * which},
            "reboot": {"generation": spec.generation + 1},
            "destroy": {"state": "destroyed"},
        }
        changed = dataclasses.replace(spec, revision=self.desired.revision + 1, **new[change])
        self._change(with_vassal(changed))

    def _change(self, spec: ContainerSpec) -> None:
        self.world.texts.add(spec.vassal.encode())
        if spec.state == "destroyed":
            self.world.doomed.add(spec.uid)
        others = tuple(item for item in self.desired.containers if item.uid != spec.uid)
        containers = tuple(sorted((*others, spec), key=lambda item: item.uid))
        self.desired = dataclasses.replace(
            self.desired, revision=spec.revision, containers=containers
        )

    @precondition(lambda self: self.emperor_is_up)
    @rule()
    def emperor_looks(self) -> None:
        self.world.emperor_looks()

    @rule(how=st.sampled_from(("killed", "unit ends", "reboot")))
    def emperor_dies(self, how: str) -> None:
        """Its containers linger on, or they and more go with it."""
        self.emperor_is_up = False
        if how == "unit ends":
            self.world.lose_groups()
            self._restart()
        elif how == "reboot":
            self.world.reboot()
            self._restart()

    @rule(seconds=st.sampled_from((1, 3600, -3600)))
    def clock_moves(self, seconds: int) -> None:
        self.world.clock += seconds

    @rule(
        is_full=st.booleans(),
        place=PLACES,
        fates=st.lists(st.sampled_from(FATES), max_size=3),
    )
    def one_round(self, is_full: bool, place: int, fates: list[Fate]) -> None:
        """From the effect at ``place`` on, one after the other has a fate of its own."""
        self._round(self.process, chain(repeat("done", place), fates), is_full or self.is_fresh)

    @rule(
        change=st.sampled_from(CHANGES),
        which=st.integers(0, 1),
        place=st.integers(0, 2),
        fates=st.lists(st.sampled_from(FATES), max_size=1),
    )
    def change_and_round(self, change: str, which: int, place: int, fates: list[Fate]) -> None:
        """What happens most: a container runs, one change, one small round."""
        self.api_creates(UIDS[0])
        if self.is_fresh:
            self.one_round(True, 0, [])
        if self.emperor_is_up:
            self.world.emperor_looks()
        self.api_changes(UIDS[0], change, which)
        self.one_round(False, place, fates)

    @rule(place=PLACES, fates=st.lists(st.sampled_from(FATES), max_size=2))
    def restore(self, place: int, fates: list[Fate]) -> None:
        """What runs before each start of the Emperor, which starts only when it has ended well."""
        if self.emperor_is_up:
            return
        self.world.reap_all()
        self.emperor_is_up = self._round(
            start(self.world), chain(repeat("done", place), fates), True
        )

    @rule()
    def configurator_is_killed(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self.process, self.is_fresh = start(self.world), True

    def _round(self, process: Modelled, fates: Any, is_full: bool) -> bool:
        """True when the process ended well."""
        self.world.fates = chain(cast(Any, fates), repeat("done"))
        is_own = process is self.process
        try:
            process.round(self.desired, full=is_full, received_at=0.0)
        except Killed:
            if is_own:
                self._restart()
            return False
        except (InsulaError, OSError):
            # The daemon makes a round that fails whole again, in full.
            self.is_fresh = self.is_fresh or is_own
            return False
        finally:
            self.world.fates = repeat("done")
        self.is_fresh = self.is_fresh and not is_own
        self._reported(process)
        return True

    def _reported(self, process: Modelled) -> None:
        """Whatever is said to be applied is so."""
        assert process.revision <= self.desired.revision
        for spec in self.desired.containers:
            assert spec.uid in process.errors or process.applied[spec.uid] == spec
        for uid, spec in process.applied.items():
            if uid not in process.errors:
                self._is_true(spec)

    def _is_true(self, spec: ContainerSpec) -> None:
        world, uid = self.world, spec.uid
        if spec.state == "destroyed":
            assert uid not in world.homes and uid not in world.links
            assert (spec.customer_id, uid) not in world.groups
            assert not [path for path in world.files if str(uid) in "/".join(path.parts[-2:])]
            assert world.vassal(uid) not in world.files and not world.running.get(uid)
            return
        assert world.homes[uid].limit_bytes == spec.storage_bytes
        assert world.groups[spec.customer_id, uid] == limits_of(spec)
        assert uid in world.links and world.has_places(uid)
        assert world.files[world.vassal(uid)] == spec.vassal.encode()
        keys = world.files[world.node.paths.ssh / "authorized_keys" / str(uid)]
        assert keys == "".join(f"{line}\n" for line in spec.ssh_keys).encode()

    @invariant()
    def the_world_is_safe(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        """Left alone, everything becomes as it should be, and nothing is left to do."""
        if not hasattr(self, "world"):
            return
        if not self.emperor_is_up:
            self.restore(0, [])
        self._restart()
        assert self._round(self.process, [], True)
        for _ in range(3):
            self.world.emperor_looks()
        boots = dict(self.world.boots)
        self._restart()
        assert self.process.decide(self.desired, full=True)[0].actions == ()
        assert self._round(self.process, [], True)
        self.world.emperor_looks()
        assert self.world.boots == boots, "a restarted configurator restarts no container"
        for spec in self.desired.containers:
            self._is_true(spec)
            if spec.state == "running":
                assert [item.text for item in self.world.running[spec.uid]] == [
                    spec.vassal.encode()
                ]


TestConfigurator = Configurator.TestCase


def running() -> Configurator:
    """One container that runs."""
    found = Configurator()
    found.begin()
    found.api_creates(UIDS[0])
    found.one_round(True, 0, [])
    found.emperor_looks()
    return found


def test_a_home_that_was_resized_before_a_failure_is_resized_back() -> None:
    found = running()
    found.api_changes(UIDS[0], "both", 1)
    found.one_round(False, 1, ["fails"])
    assert found.world.homes[UIDS[0]].limit_bytes == STORAGE[1] and found.process.errors
    found.api_changes(UIDS[0], "both", 0)
    found.one_round(False, 0, [])
    assert found.world.homes[UIDS[0]].limit_bytes == STORAGE[0]


def test_a_file_that_was_staged_by_a_killed_process_goes_with_its_container() -> None:
    found = running()
    found.api_changes(UIDS[0], "reboot", 0)
    found.one_round(False, 0, ["last"])
    assert found.world.vassal(UIDS[0], staged=True) in found.world.files
    found.api_changes(UIDS[0], "destroy", 0)
    found.teardown()


def test_a_container_whose_limits_fail_does_not_boot_without_them() -> None:
    found = running()
    found.emperor_dies("unit ends")
    found.restore(0, ["torn"])
    assert found.emperor_is_up
    found.world.emperor_looks()
    assert not found.world.running[UIDS[0]]
    found.teardown()
    assert found.world.running[UIDS[0]]
