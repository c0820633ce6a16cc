"""What the gate does about an event, and in which order."""

from ipaddress import IPv4Network

from insula.dominator import events, packet
from insula.dominator.events import Clock, Effect, Event, Send
from insula.dominator.gate import Gate
from insula.dominator.machine import DEAF_SECONDS, Machine
from insula.dominator.table import SILENT_SECONDS
from tests.unit.properties.test_gate import Desired, signed

UID, DOMAIN, ROUTER = 30001, "shop.test", ("router", 1)
ADDRESS = f"/apps/{UID}/sockets/a"


class Driven:
    """A machine whose router takes everything, unless it is busy."""

    def __init__(self, *, journal: bytes = b"", accepted: bytes = b"", owner: int | None = 1):
        self.now, self.unix = 100.0, 1e9
        self.desired = Desired({DOMAIN: owner})
        gate = Gate(self.desired.ownership(), IPv4Network("10.0.0.0/8"), "/apps")
        self.machine = Machine(gate, pages_503="/503", pages_421="/421")
        self.is_busy = False
        self.done: list[Effect] = []
        self.tell(events.Started(gate.ownership, b"[]", journal, accepted))

    def tell(self, event: Event) -> list[Effect]:
        """The effects of an event and of what the router says to them."""
        first = len(self.done)
        self._carry_out(self.machine.handle(event, Clock(self.unix + self.now, self.now)))
        return self.done[first:]

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.done.append(effect)
            if isinstance(effect, Send) and not self.is_busy:
                self.tell(events.Took(effect))
            elif isinstance(effect, events.AskRouter):
                self.tell(events.Replayed(ROUTER))

    def announce(self, *, leave: bool = False) -> list[Effect]:
        unix = int(self.unix + self.now) + leave
        values: dict[str, str | int] = {
            "key": DOMAIN,
            "address": "/run/sockets/a",
            "notify": "/run/sockets/ear",
            "unix": unix,
        }
        data = signed(values, self.desired.pem(1), leave=leave)
        return self.tell(events.Heard(UID, UID, packet.parse(data), True))

    @property
    def journal(self) -> bytes:
        return b"".join(item.line for item in self.done if isinstance(item, events.Keep))


def kinds(effects: list[Effect]) -> list[str]:
    return [type(item).__name__ for item in effects if not isinstance(item, events.Note)]


def sends(effects: list[Effect]) -> list[tuple[str, bool]]:
    return [(item.key, packet.is_leave(item.packet)) for item in effects if isinstance(item, Send)]


def test_what_is_new_is_kept_before_the_router_hears_of_it() -> None:
    assert kinds(Driven().announce()) == ["Remember", "Keep", "Step", "Send", "Step", "Answer"]


def test_an_app_is_told_that_it_is_routed_when_the_router_knows_it() -> None:
    gate = Driven()
    gate.tell(events.Round(ROUTER))
    gate.is_busy = True
    assert kinds(gate.announce()) == ["Remember", "Keep", "Step", "Send"]
    gate.is_busy = False
    told = gate.tell(events.Round(ROUTER))
    assert events.Answer(f"/apps/{UID}/sockets/ear", f"[insula] {DOMAIN} is routed") in told


def test_a_gate_that_was_killed_before_it_saved_its_table_leaves_no_stray_route() -> None:
    first = Driven()
    first.announce()
    second = Driven(journal=first.journal, owner=2)
    assert (DOMAIN, True) in sends(second.tell(events.Round(ROUTER)))


def test_a_withdrawal_that_the_router_has_not_taken_outlives_its_gate() -> None:
    first = Driven()
    first.announce()
    first.is_busy, first.now = True, 110.0
    first.announce(leave=True)
    second = Driven(journal=first.journal)
    assert (DOMAIN, True) in sends(second.tell(events.Round(ROUTER)))
    third = Driven(journal=first.journal + second.journal)
    assert (DOMAIN, True) not in sends(third.tell(events.Round(ROUTER)))


def test_the_marker_of_a_domain_that_was_detached_while_no_gate_ran_is_taken_back() -> None:
    gate = Driven(owner=None)
    assert (f"mapped/{DOMAIN}", True) in sends(gate.tell(events.Round(ROUTER)))


def test_a_new_router_hears_withdrawals_first_and_the_fallback_last() -> None:
    gate = Driven(owner=None)
    gate.desired.owners["b.test"] = 1
    gate.tell(events.Owned(gate.desired.ownership()))
    gate.is_busy = True
    gate.tell(events.Round(ROUTER))
    gate.is_busy = False
    assert sends(gate.tell(events.Round(ROUTER))) == [
        (f"mapped/{DOMAIN}", True),
        ("mapped/b.test", False),
        ("unknown/", False),
    ]


def test_no_app_counts_as_silent_while_the_gate_does_not_listen() -> None:
    gate = Driven()
    gate.tell(events.Round(ROUTER))
    gate.announce()
    gate.now += 2 * SILENT_SECONDS
    assert (DOMAIN, True) not in sends(gate.tell(events.Round(ROUTER)))
    for _ in range(int(SILENT_SECONDS)):
        gate.now += min(1.0, DEAF_SECONDS)
        gate.tell(events.Round(ROUTER))
    gate.now += 1.0
    assert (DOMAIN, True) in sends(gate.tell(events.Round(ROUTER)))


def test_an_app_that_waits_for_a_clock_which_went_back_is_not_silent() -> None:
    gate = Driven()
    gate.announce()
    gate.unix -= 3600
    kept = b"".join(item.record for item in gate.done if isinstance(item, events.Remember))
    next_one = Driven(journal=gate.journal, accepted=kept)
    next_one.unix = gate.unix
    for either in (gate, next_one):
        for _ in range(int(SILENT_SECONDS) + 2):
            either.now += 1.0
            assert (DOMAIN, True) not in sends(either.tell(events.Round(ROUTER)))
        either.unix += 3600
        for _ in range(int(SILENT_SECONDS) + 2):
            either.now += 1.0
            either.tell(events.Round(ROUTER))
        assert DOMAIN not in {route.domain for route in either.machine.table.routes.values()}


def test_the_journal_is_cleared_after_the_table_is_saved() -> None:
    gate = Driven()
    gate.announce()
    assert kinds(gate.tell(events.Stopping())) == ["SaveTable", "ClearJournal"]


def test_a_table_that_could_not_be_saved_is_saved_in_the_next_round() -> None:
    gate = Driven()
    gate.announce()
    assert "SaveTable" in kinds(gate.tell(events.Round(ROUTER)))
    assert "SaveTable" not in kinds(gate.tell(events.Round(ROUTER)))
    gate.tell(events.Unsaved())
    saved = kinds(gate.tell(events.Round(ROUTER)))
    assert saved.index("SaveTable") < saved.index("ClearJournal")
    assert "SaveTable" not in kinds(gate.tell(events.Round(ROUTER)))
