"""The report: what it says about a container whose old instance still ends."""

from pathlib import Path
from typing import cast

import pytest

from insula.configurator import status
from insula.configurator.actual import Kernel
from insula.emperor.kernel import process
from insula.emperor.settings import Node, NodeSettings, Paths
from tests.unit.configurator.examples import container

KERNEL = cast(Kernel, None)  # nothing asks it here: the start of the process is given


def since(monkeypatch: pytest.MonkeyPatch, *, started: float, booting: dict[int, float]) -> float:
    """What a report says when the container's first process was started then."""
    monkeypatch.setattr(status, "started_at", lambda *_: started)
    monkeypatch.setattr(process, "unix_of", lambda moment: moment)
    spec = container()
    found = status.node_report(
        Node(Paths(Path("/nowhere")), NodeSettings()),
        KERNEL,
        revision=5,
        specs=(spec,),
        applied={spec.uid: spec},
        errors={},
        used_bytes={},
        booting=booting,
    )
    return found.containers[0].running_since


def test_what_runs_is_reported_with_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert since(monkeypatch, started=100.0, booting={}) == 100.0


def test_the_instance_from_before_a_reboot_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert since(monkeypatch, started=100.0, booting={30001: 200.0}) == 0.0


def test_the_new_instance_counts_although_the_kernel_rounds_its_start_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert since(monkeypatch, started=199.99, booting={30001: 200.0}) == 199.99


def test_another_containers_boot_says_nothing_about_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert since(monkeypatch, started=100.0, booting={30002: 200.0}) == 100.0
