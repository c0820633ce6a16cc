"""A trace names each step of each change, and what is missing."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from insula.emperor.cli import explain
from insula.emperor.daemon.trace import Trace
from insula.emperor.settings import NodeSettings, Paths
from insula.vassals.errors import InsulaError
from insula.vassals.report import STEPS, StepState, TraceEvent

START = 1_700_000_000.0
PREPARED = (
    "api-changed", "feed-received", "storage-ready", "network-ready", "limits-ready",
    "files-ready", "vassal-written",
)  # fmt: skip
WHOLE = (*PREPARED, *explain.BOOT)


def events(
    *steps: str, start: float = START, generation: int = 1, detail: str = ""
) -> list[TraceEvent]:
    """These steps, ten milliseconds after one another."""
    return [
        TraceEvent(start + place * 0.01, 30001, generation, step, "ok", detail)
        for place, step in enumerate(steps)
    ]


def event(
    step: str, after: float, *, state: StepState = "ok", detail: str = "", generation: int = 1
) -> TraceEvent:
    return TraceEvent(START + after, 30001, generation, step, state, detail)


def names(change: explain.Change, state: str) -> list[str]:
    return [step.step for step in change.steps if step.state == state]


def test_a_whole_change_is_one_trace_with_times_since_the_change() -> None:
    (change,) = explain.changes(events(*WHOLE), now=START + 60)
    assert (change.generation, change.at, change.cause) == (1, START, "change")
    assert names(change, "ok") == list(WHOLE)
    assert [step.after_ms for step in change.steps] == [place * 10.0 for place in range(12)]


def test_each_change_is_a_trace_of_its_own_also_without_a_new_generation() -> None:
    live = events("api-changed", "feed-received", "limits-ready", start=START + 100)
    found = explain.changes(events(*WHOLE) + live, now=START + 200)
    assert [(item.generation, len(item.steps)) for item in found] == [(1, 12), (1, 3)]
    assert names(found[1], "missing") == []


def test_a_boot_without_a_change_is_a_restart() -> None:
    again = events(*explain.BOOT, start=START + 100)
    found = explain.changes(events(*WHOLE) + again, now=START + 200)
    assert [item.cause for item in found] == ["change", "restart"]


def test_the_old_boots_last_steps_stay_with_their_generation() -> None:
    new = events(*WHOLE, start=START + 100, generation=2)
    late = event("stopped", 100.005)
    first, second = explain.changes([*events(*WHOLE), *new, late], now=START + 200)
    assert first.steps[-1].step == "stopped"
    assert not second.has("stopped")


def test_a_change_that_is_told_twice_is_one() -> None:
    (change,) = explain.changes([*events(*WHOLE), event("api-changed", 0)], now=START + 60)
    assert len(change.steps) == 12


def test_a_boot_that_stands_still_names_the_missing_steps_and_one_remedy() -> None:
    (change,) = explain.changes(events(*PREPARED, "cloned"), now=START + 60)
    assert names(change, "missing") == list(explain.BOOT[1:])
    assert [bool(step.hint) for step in change.steps if step.state == "missing"] == [
        True, False, False, False,
    ]  # fmt: skip


def test_a_boot_that_is_on_its_way_waits() -> None:
    (change,) = explain.changes(events(*PREPARED), now=START + 1)
    assert names(change, "waiting") == list(explain.BOOT)
    assert not any(step.hint for step in change.steps)


def test_only_the_newest_change_misses_steps() -> None:
    found = explain.changes(
        events(*PREPARED) + events(*WHOLE, start=START + 1, generation=2), now=START + 60
    )
    assert names(found[0], "missing") == names(found[1], "missing") == []


def test_a_failed_step_says_what_to_do() -> None:
    failed = event("storage-ready", 0.02, state="failed", detail="no space left")
    (change,) = explain.changes([*events("api-changed", "feed-received"), failed], now=START + 60)
    assert names(change, "failed") == ["storage-ready"]
    assert "no space left" in explain.text([change])
    assert explain.REMEDIES["storage-ready"] in explain.text([change])
    assert names(change, "missing") == []


def test_an_announcement_that_the_router_does_not_know_is_named_with_its_domain() -> None:
    announced = [
        event("announced", 5, detail="a.test"),
        event("routed", 5.001, detail="a.test"),
        event("announced", 6, detail="b.test"),
    ]
    (change,) = explain.changes(events(*WHOLE) + announced, now=START + 60)
    assert [(s.step, s.detail) for s in change.steps if s.state == "missing"] == [
        ("routed", "b.test")
    ]


def test_a_refusal_that_is_repeated_is_one_line_with_a_count() -> None:
    refused = [
        event("refused", 5 + place, state="failed", detail="unsigned a.test") for place in range(9)
    ]
    (change,) = explain.changes(events(*WHOLE) + refused, now=START + 60)
    assert (change.steps[-1].step, change.steps[-1].count) == ("refused", 9)
    assert "unsigned a.test (9 times)" in explain.text([change])


def test_a_refused_name_cannot_steer_the_operators_terminal() -> None:
    refused = event("refused", 5, state="failed", detail="invalid-domain \x1b]0;x\x07\n")
    text = explain.text(explain.changes([*events(*WHOLE), refused], now=START + 60))
    assert "\x1b" not in text and "\x07" not in text
    assert len(text.splitlines()) == 1 + 12 + 2


def test_every_step_that_can_be_missing_has_a_remedy() -> None:
    assert set(STEPS) - set(explain.REMEDIES) == {"api-changed", "announced"}


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(12.34, "12.3 ms"), (1500, "1.500 s"), (300_007, "5 min 00.007 s"), (3_900_000, "1 h 05 min")],
)
def test_times_are_readable(milliseconds: float, shown: str) -> None:
    assert explain.duration(milliseconds) == shown


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    found.etc.mkdir(parents=True)
    found.node_toml.write_text(NodeSettings().to_toml())
    return found


def run(paths: Paths, *arguments: str) -> str:
    given = SimpleNamespace(root=paths.root, json=False, debug=False)
    result = CliRunner().invoke(explain.explain, arguments, obj=given, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_command_reads_what_all_writers_wrote(paths: Paths) -> None:
    Trace(paths, "configurator").step(30001, "vassal-written", generation=1, at=START)
    Trace(paths, "boot").step(30001, "cloned", generation=1, at=START + 0.005)
    Trace(paths, "dominator").step(30001, "announced", generation=1, at=START + 1, detail="a.test")
    found = json.loads(run(paths, "30001", "--json"))
    assert found["uid"] == 30001
    steps = [(step["step"], step["state"]) for step in found["changes"][0]["steps"][:3]]
    assert steps == [("vassal-written", "ok"), ("cloned", "ok"), ("announced", "ok")]
    assert "a.test" in run(paths, "30001")


def test_a_container_without_steps_is_said_to_have_none(paths: Paths) -> None:
    assert run(paths, "30002").startswith("no step of container 30002 is on record")


def test_a_line_that_a_full_disk_has_cut_is_left_out(paths: Paths) -> None:
    Trace(paths, "boot").step(30001, "cloned", generation=1, at=START)
    path = paths.trace("boot", 30001)
    path.write_text(path.read_text() + '{"at": 1')
    assert [event.step for event in explain.read(paths, 30001)] == ["cloned"]


def test_a_broken_trace_is_an_error_with_a_remedy(paths: Paths) -> None:
    path = paths.trace("boot", 30001)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InsulaError, match="trace file is broken"):
        explain.read(paths, 30001)
