"""One round of the configurator, and what it remembers from one to the next."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from insula.configurator import actual as actual_state
from insula.configurator.actual import Actual, Kernel
from insula.configurator.apply import Applier, Outcome
from insula.configurator.hands import NodeHands
from insula.configurator.keys import KeyStore
from insula.configurator.plan import Plan, plan
from insula.configurator.resolvers import resolv_conf
from insula.emperor.daemon.log import Log
from insula.emperor.daemon.trace import Trace
from insula.emperor.errors import KernelError
from insula.emperor.kernel import cgroup
from insula.emperor.kernel.network import Network
from insula.emperor.settings import Node
from insula.emperor.storage import driver
from insula.vassals.spec import ContainerSpec, DesiredState


def kernel_of(node: Node) -> Kernel:
    """The wrappers for this machine. Raises KernelError when it lacks what a node needs."""
    return Kernel(
        storage=driver(node),
        network=Network(node.link_prefix, node.settings.ip_network, node.paths.netns(0).parent),
        cgroups=cgroup.detect(node.cgroup_name),
    )


@dataclass
class Reconciler:
    """Makes desired states true; remembers what it has made true, so a round looks at the rest.

    ``revision`` is the last one that a whole round was made for: what the API may be told.
    """

    node: Node
    kernel: Kernel
    keys: KeyStore | None
    applier: Applier
    log: Log
    applied: dict[int, ContainerSpec] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    remarks: dict[int, str] = field(default_factory=dict)
    revision: int = 0
    _limits: dict[int, int] = field(default_factory=dict)
    _resolv_conf: str | None = None

    def decide(self, desired: DesiredState, *, full: bool) -> tuple[Plan, list[ContainerSpec]]:
        """The plan for what changed, or in a ``full`` round for everything."""
        keys = self.keys.keys(desired, now=time.monotonic()) if self.keys else {}
        specs = [
            spec
            for spec in desired.containers
            if full or spec.uid in self.errors or self.applied.get(spec.uid) != spec
        ]
        # What has failed may have been resized before it did.
        if full or self.errors:
            self._limits = self.kernel.storage.limits()
        found = self._observe(specs, keys, full=full)
        public_keys = {item.id: item.public_key_pem for item in desired.customers}
        todo = plan(
            self.node, tuple(specs), found, everyone=desired.containers, public_keys=public_keys
        )
        return todo, specs

    def round(self, desired: DesiredState, *, full: bool, received_at: float) -> Outcome:
        """Make ``desired`` true as far as it goes; what fails is tried again in the next round."""
        with locked(self.node.paths.run / "configurator.lock"):
            if full:
                self.applier.hands.prepare()
            todo, specs = self.decide(desired, full=full)
            generations = {spec.uid: spec.generation for spec in specs}
            self._trace_received(todo, specs, received_at)
            outcome = self.applier.apply(todo, generations)
        for spec in specs:
            self._remember(spec, outcome)
            self.remarks.pop(spec.uid, None)
        self.revision = desired.revision
        self.remarks |= todo.remarks
        return outcome

    def _remember(self, spec: ContainerSpec, outcome: Outcome) -> None:
        error = outcome.errors.get(spec.uid)
        if error is not None:
            self.errors[spec.uid] = error
            return
        self.errors.pop(spec.uid, None)
        self.applied[spec.uid] = spec
        self._limits[spec.uid] = spec.storage_bytes

    def _observe(self, specs: list[ContainerSpec], keys: dict[int, str], *, full: bool) -> Actual:
        if full or self._resolv_conf is None:
            self._resolv_conf = resolv_conf()
            if not self._resolv_conf:
                self.log.warning(
                    "no resolver for the containers",
                    hint="/etc/resolv.conf names loopback addresses alone: put a real one there",
                )
        containers = actual_state.observe_containers(self.node, self.kernel, specs, self._limits)
        return Actual(
            firewall=actual_state.loaded_firewall(self.node, ask_kernel=full),
            grounds=actual_state.observe_grounds(self.node, specs, containers),
            resolv_conf=self._resolv_conf,
            extrausers=actual_state.extrausers_texts(self.node),
            containers=containers,
            signing_keys=keys,
        )

    def _trace_received(self, todo: Plan, specs: list[ContainerSpec], received_at: float) -> None:
        # Only for a change: a restart that finds all in place is no step of anything.
        changed = {action.uid for action in todo.actions if hasattr(action, "uid")}
        trace = self.applier.trace
        for spec in specs:
            known = self.applied.get(spec.uid)
            if spec.uid in changed | set(todo.refused) and (
                known is None or known.revision != spec.revision
            ):
                generation = spec.generation
                trace.step(spec.uid, "api-changed", generation=generation, at=spec.changed_at)
                trace.step(spec.uid, "feed-received", generation=generation, at=received_at)


def reconciler(
    node: Node, *, log: Log, keys: KeyStore | None, wake: Callable[[], object]
) -> Reconciler:
    """All the parts of one node's configurator put together."""
    kernel = kernel_of(node)
    hands = NodeHands(node, kernel, wake)
    applier = Applier(node, hands, log, Trace(node.paths, "configurator"))
    return Reconciler(node, kernel, keys, applier, log)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one configurator work at a time: ``--restore`` and the daemon start side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def reap_all(kernel: Kernel, log: Log) -> None:
    """Kill what an earlier containers Emperor left, so that no container runs twice."""
    for customer_id, uid in kernel.cgroups.known():
        try:
            kernel.cgroups.reap(customer_id, uid)
        except KernelError as error:
            log.error("container not reaped", uid=uid, error=error.message)
