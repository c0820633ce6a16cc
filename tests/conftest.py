"""What all tests share: root where it is needed, no network or processes where they are not."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent

# The same examples in every run of the gate; a soak test brings settings of its own and looks for
# new ones. No deadlines: a busy machine fails no test.
settings.register_profile(
    "gate",
    max_examples=100,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("gate")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A kernel or system test without root is skipped on a laptop and fails under CI."""
    if os.geteuid() == 0 or os.environ.get("CI"):
        return
    for item in items:
        if item.get_closest_marker("kernel") or item.get_closest_marker("system"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(autouse=True)
def no_outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test that connects somewhere or runs a command fails."""
    if not Path(str(request.node.path)).is_relative_to(TESTS / "unit"):
        return

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a unit test uses neither network nor processes")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
