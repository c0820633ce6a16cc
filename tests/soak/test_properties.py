"""The property tests with many more examples, other ones each time."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.unit.properties.test_configurator import Configurator
from tests.unit.properties.test_feed import Feed
from tests.unit.properties.test_gate import Gatekeeper

pytestmark = pytest.mark.soak

MANY = settings(
    max_examples=2000,
    stateful_step_count=60,
    derandomize=False,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("machine", [Configurator, Gatekeeper, Feed])
def test_it_holds_for_many_more_orders(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(machine, settings=MANY)
