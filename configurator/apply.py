"""Carries out a plan, action by action; one failing container does not stop the others."""

import time
from contextlib import suppress
from dataclasses import dataclass, field

from insula.configurator.effects import amends_of, effects_of
from insula.configurator.hands import Hands
from insula.configurator.plan import Action, ContainerAction, NodeAction, Plan, WriteVassal
from insula.emperor.daemon.log import Log
from insula.emperor.daemon.trace import Trace
from insula.emperor.kernel import process
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError


@dataclass
class Outcome:
    """What became of a plan: each container's error, and when each that boots now was told to.

    ``written`` counts in seconds since the machine's boot, as the kernel's start times do.
    """

    errors: dict[int, str] = field(default_factory=dict)
    written: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Applier:
    """Does what a plan says on one node."""

    node: Node
    hands: Hands
    log: Log
    trace: Trace

    def apply(self, plan: Plan, generations: dict[int, int]) -> Outcome:
        """Carry out every action; after a failure the rest of that container's are left out."""
        outcome = Outcome({uid: _sentence(error) for uid, error in plan.refused.items()})
        for uid, error in plan.refused.items():
            self.log.error("container refused", uid=uid, error=error.message, hint=error.hint)
        for action in plan.actions:
            if isinstance(action, NodeAction):
                self._do_for_node(action)
            elif action.uid not in outcome.errors:
                self._try_container(action, outcome, generations.get(action.uid, 0))
        return outcome

    def _do_for_node(self, action: NodeAction) -> None:
        # Without its firewall nothing may start: containers would be open to each other.
        self._do(action)
        self.log.info("applied", action=action.describe())

    def _try_container(self, action: ContainerAction, outcome: Outcome, generation: int) -> None:
        uid, begun_at = action.uid, time.clock_gettime(process.CLOCK)
        try:
            self._do(action)
        except (InsulaError, OSError) as error:
            outcome.errors[uid] = _sentence(error)
            self.log.error("action failed", uid=uid, action=action.describe(), error=str(error))
            self.trace.step(
                uid, action.step, generation=generation, state="failed", detail=_sentence(error)
            )
            self._amend(action)
            return
        self.log.info("applied", uid=uid, action=action.describe())
        self.trace.step(uid, action.step, generation=generation)
        if isinstance(action, WriteVassal):
            outcome.written[uid] = begun_at

    def _do(self, action: Action) -> None:
        for effect in effects_of(self.node, action):
            self.hands.do(effect)

    def _amend(self, action: Action) -> None:
        # The failure is told already; what cannot be amended is met again in the next round.
        for effect in amends_of(action):
            with suppress(InsulaError, OSError):
                self.hands.do(effect)


def _sentence(error: Exception) -> str:
    if not isinstance(error, InsulaError):
        return str(error)
    if error.hint is None:
        return error.message
    return f"{error.message}; {error.hint}"
