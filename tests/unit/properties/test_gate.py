"""Any order of announcements, changes, kills, router faults and clock jumps: what the router ends
up with is what may be, and what lives."""

from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Network

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from insula.dominator import events, packet
from insula.dominator.events import Clock, Effect, Event, Heard, Send
from insula.dominator.gate import Gate
from insula.dominator.history import FUTURE_SECONDS
from insula.dominator.machine import FALLBACK, ROUND_SECONDS, Machine
from insula.dominator.ownership import Ownership
from insula.dominator.table import SILENT_SECONDS, marker
from insula.vassals.spec import ContainerSpec, CustomerSpec, DesiredState, DomainSpec

CUSTOMER_OF = {30001: 1, 30002: 2, 30003: 1}
DOMAINS = ("shop.test", ".wild.test", "one.wild.test")
APPS = tuple((uid, name) for uid in CUSTOMER_OF for name in ("shop.test", "one.wild.test"))
ANNOUNCE_SECONDS = 10.0
HOUR = 3600.0


class Killed(BaseException):
    """The gate's process is gone."""


class Ring:
    """Keys without the arithmetic: a signature is the hash of key and text."""

    def __init__(self, pems: dict[int, str]) -> None:
        self.pems = pems

    def verifies(self, customer_id: int, *, signed: bytes, signature: bytes) -> bool:
        return signature == sign(self.pems[customer_id], signed)


def sign(pem: str, text: bytes) -> bytes:
    return sha256(pem.encode() + text).digest()


@dataclass
class Desired:
    """What the API says; versions of keys count from 0."""

    owners: dict[str, int | None] = field(default_factory=dict)
    keys: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    destroyed: set[int] = field(default_factory=set)

    def pem(self, customer: int) -> str:
        return f"-----BEGIN PUBLIC KEY-----\n{customer} {self.keys[customer]}"

    def ownership(self) -> Ownership:
        found = Ownership(
            DesiredState(
                "test",
                1,
                tuple(
                    ContainerSpec(
                        uid, customer, "c", "c", "d", 1, 1, 0.0, 1, 1, 1, 1, (), "",
                        "destroyed" if uid in self.destroyed else "running",
                    )
                    for uid, customer in CUSTOMER_OF.items()
                ),
                tuple(CustomerSpec(number, "k", self.pem(number)) for number in self.keys),
                tuple(
                    DomainSpec(name, owner or 1, "attached" if owner else "detached")
                    for name, owner in self.owners.items()
                ),
            )
        )  # fmt: skip
        found.keys = Ring({number: self.pem(number) for number in self.keys})  # type: ignore[assignment]
        return found


@dataclass
class App:
    """A running app; it signs with the key that it has read at its start."""

    uid: int
    domain: str
    pem: str
    next_at: float


@dataclass
class Router:
    """Two processes with a table each; a new one begins with an empty table."""

    tables: list[dict[tuple[str, str], bytes]] = field(default_factory=lambda: [{}, {}])
    births: list[int] = field(default_factory=lambda: [1, 2])
    is_there: bool = True
    refusals: int = 0

    def identity(self) -> tuple[object, ...] | None:
        return tuple(self.births) if self.is_there else None

    def send(self, send: Send) -> bool:
        if not self.is_there:
            return False
        if self.refusals:
            self.refusals -= 1
            return False
        for table in self.tables:
            if packet.is_leave(send.packet):
                table.pop((send.key, send.address), None)
            else:
                table[send.key, send.address] = send.packet
        return True

    def restart(self, which: int) -> None:
        self.tables[which] = {}
        self.births[which] = max(self.births) + 1


@dataclass
class Disk:
    """The gate's files."""

    table: bytes = b"[]"
    journal: bytes = b""
    accepted: list[bytes] | None = None


class Gatekeeper(RuleBasedStateMachine):
    """The machine with a driver as thin as the daemon's; its process may die at each effect."""

    @initialize()
    def begin(self) -> None:
        self.monotonic, self.offset = 1000.0, 1_000_000_000.0
        self.desired = Desired({name: 1 for name in DOMAINS})
        self.router, self.disk = Router(), Disk()
        self.apps: dict[tuple[int, str], App] = {}
        self.said: list[tuple[int, bytes]] = []
        self.accepted: set[tuple[int, bytes]] = set()
        self.accepted_before: set[tuple[int, bytes]] = set()
        self.hearing = (0, b"")
        self.is_hearing = False
        self.kill_in: int | None = None
        self.is_busy = False
        self.round_at = self.monotonic
        self.start_gate()

    def start_gate(self) -> None:
        gate = Gate(self.desired.ownership(), IPv4Network("10.0.0.0/8"), "/apps")
        self.machine = Machine(gate, pages_503="/503", pages_421="/421")
        disk = self.disk
        accepted = None if disk.accepted is None else b"".join(disk.accepted)
        started = events.Started(gate.ownership, disk.table, disk.journal, accepted)
        disk.accepted = disk.accepted or [b"", b""]
        self.round_at = self.monotonic
        self.tell(started)

    def tell(self, event: Event) -> None:
        try:
            self.carry_out(self.machine.handle(event, self.clock()))
        except Killed:
            self.kill_in = None
            self.start_gate()

    def clock(self) -> Clock:
        return Clock(self.monotonic + self.offset, self.monotonic)

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if self.kill_in is not None:
                self.kill_in -= 1
                if self.kill_in < 0:
                    raise Killed
            self.do(effect)

    def do(self, effect: Effect) -> None:
        assert self.disk.accepted is not None
        match effect:
            case Send():
                self.check_send(effect)
                if self.is_hearing:
                    self.accepted.add(self.hearing)
                self.is_busy = self.is_busy or not self.router.send(effect)
                if not self.is_busy:
                    self.carry_out(self.machine.handle(events.Took(effect), self.clock()))
            case events.AskRouter():
                replayed = events.Replayed(self.router.identity())
                self.carry_out(self.machine.handle(replayed, self.clock()))
            case events.Remember(record):
                self.disk.accepted[1] += record
                self.check_new()
            case events.ForgetAccepted(ahead):
                self.disk.accepted = [self.disk.accepted[1], b"".join(ahead)]
            case events.Keep(line):
                self.disk.journal += line
            case events.SaveTable(data):
                self.disk.table = data
            case events.ClearJournal():
                self.disk.journal = b""
            case events.Note(_, "route withdrawn", {"why": "silent", **route}):
                app = (route["uid"], route["domain"])  # as the gate notes them
                assert app not in self.apps, "an app that speaks counts as silent"
            case _:
                return

    def check_send(self, send: Send) -> None:
        """The router is never told what the gate's own knowledge forbids."""
        if send.key.startswith(("mapped/", "unknown/")) or packet.is_leave(send.packet):
            return
        uid = int(send.address.split("/")[2])
        ownership = self.machine.gate.ownership
        assert ownership.refusal(uid, send.key) is None
        assert ownership.owner_of(send.key) == CUSTOMER_OF[uid]

    def check_new(self) -> None:
        assert self.hearing not in self.accepted_before, "a replay was accepted"
        self.accepted.add(self.hearing)

    @rule(app=st.sampled_from(APPS))
    def app_starts(self, app: tuple[int, str]) -> None:
        uid, domain = app
        pem = self.desired.pem(CUSTOMER_OF[uid])
        self.apps[app] = App(uid, domain, pem, self.monotonic)
        self.announce(self.apps[app])

    @rule(app=st.sampled_from(APPS), leaves=st.booleans())
    def app_ends(self, app: tuple[int, str], leaves: bool) -> None:
        found = self.apps.pop(app, None)
        if found is not None and leaves:
            self.announce(found, leave=True)

    @rule(which=st.integers(0, 200))
    def somebody_says_it_again(self, which: int) -> None:
        if self.said:
            self.hear(*self.said[which % len(self.said)])

    @rule(uid=st.sampled_from(tuple(CUSTOMER_OF)), owner=st.sampled_from(tuple(CUSTOMER_OF)))
    def somebody_names_a_foreign_address(self, uid: int, owner: int) -> None:
        address = f"/run/sockets/../../{owner}/sockets/a"
        values: dict[str, str | int] = {
            "key": "shop.test",
            "address": address,
            "unix": int(self.clock().unix),
        }
        self.hear(uid, signed(values, self.desired.pem(CUSTOMER_OF[uid])))

    def announce(self, app: App, *, leave: bool = False) -> None:
        app.next_at = self.monotonic + ANNOUNCE_SECONDS
        values: dict[str, str | int] = {
            "key": app.domain,
            "address": f"/run/sockets/{app.domain}",
            "unix": int(self.clock().unix) + leave,
        }
        self.hear(app.uid, signed(values, app.pem, leave=leave))

    def hear(self, uid: int, data: bytes) -> None:
        if (uid, data) not in self.said:
            self.said.append((uid, data))
        parsed = packet.parse(data)
        self.hearing = (uid, parsed.signed)
        self.accepted_before = set(self.accepted)
        self.is_hearing = True
        self.tell(Heard(uid, uid, parsed, True))
        self.is_hearing = False

    @rule(domain=st.sampled_from(DOMAINS), owner=st.sampled_from((1, 2, None)))
    def domain_changes_hands(self, domain: str, owner: int | None) -> None:
        self.desired.owners[domain] = owner
        self.tell(events.Owned(self.desired.ownership()))

    @rule(customer=st.sampled_from((1, 2)))
    def key_is_rotated(self, customer: int) -> None:
        self.desired.keys[customer] += 1
        self.tell(events.Owned(self.desired.ownership()))

    @rule(uid=st.sampled_from(tuple(CUSTOMER_OF)), ends=st.booleans())
    def container_is_destroyed(self, uid: int, ends: bool) -> None:
        self.desired.destroyed.add(uid)
        if ends:
            self.apps = {key: app for key, app in self.apps.items() if app.uid != uid}
        self.tell(events.Owned(self.desired.ownership()))

    @rule(effects=st.integers(0, 12))
    def gate_will_be_killed(self, effects: int) -> None:
        self.kill_in = effects

    @rule(
        app=st.sampled_from(APPS), effects=st.integers(0, 10), owner=st.sampled_from((1, 2, None))
    )
    def gate_dies_over_an_announcement(
        self, app: tuple[int, str], effects: int, owner: int | None
    ) -> None:
        """And before the app speaks again its domain is somebody else's."""
        self.kill_in = effects
        self.app_starts(app)
        self.rounds(1)
        self.kill_in = None
        self.domain_changes_hands(app[1], owner)

    @rule(
        domain=st.sampled_from(DOMAINS),
        owner=st.sampled_from((1, 2, None)),
        effects=st.integers(0, 4),
    )
    def gate_dies_over_a_change(self, domain: str, owner: int | None, effects: int) -> None:
        self.kill_in = effects
        self.domain_changes_hands(domain, owner)
        self.kill_in = None

    @rule()
    def gate_is_killed(self) -> None:
        self.start_gate()

    @rule()
    def gate_ends(self) -> None:
        self.tell(events.Stopping())
        self.start_gate()

    @rule(which=st.sampled_from((0, 1)))
    def router_process_is_new(self, which: int) -> None:
        self.router.restart(which)

    @rule()
    def router_is_new(self) -> None:
        self.router.restart(0)
        self.router.restart(1)

    @rule(is_there=st.booleans(), refusals=st.integers(0, 5))
    def router_is_busy(self, is_there: bool, refusals: int) -> None:
        self.router.is_there, self.router.refusals = is_there, refusals

    @rule(seconds=st.sampled_from((HOUR, -HOUR)))
    def clock_jumps(self, seconds: float) -> None:
        self.offset += seconds

    @rule(app=st.sampled_from(APPS), seconds=st.sampled_from((HOUR, -HOUR)))
    def clock_jumps_over_an_app(self, app: tuple[int, str], seconds: float) -> None:
        self.app_starts(app)
        self.offset += seconds
        self.all_is_quiet()

    @rule(
        app=st.sampled_from(APPS), seconds=st.sampled_from((HOUR, -HOUR)), rounds=st.integers(0, 28)
    )
    def clock_is_wrong_for_a_moment(
        self, app: tuple[int, str], seconds: float, rounds: int
    ) -> None:
        """And what was said before is said again when it is right."""
        self.app_starts(app)
        said = self.said[-1]
        self.offset += seconds
        self.rounds(rounds)
        self.offset -= seconds
        self.hear(*said)

    @rule(seconds=st.sampled_from((6.0, 60.0)))
    def gate_hangs(self, seconds: float) -> None:
        """Nobody listens: what apps say is lost."""
        if self.monotonic < 3000.0:
            self.monotonic += seconds
            for app in self.apps.values():
                app.next_at = max(app.next_at, self.monotonic)

    @rule(rounds=st.integers(1, 100))
    def time_goes_on(self, rounds: int) -> None:
        if self.monotonic < 3000.0:
            self.rounds(rounds)

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.monotonic += ROUND_SECONDS
            self.is_busy = False
            self.tell(events.Round(self.router.identity()))
            for app in list(self.apps.values()):
                if app.next_at <= self.monotonic:
                    self.announce(app)

    @precondition(lambda self: self.monotonic < 2900.0)
    @rule()
    def all_is_quiet(self) -> None:
        """A silence and some rounds without a fault: router and rights agree."""
        self.kill_in, self.router.is_there, self.router.refusals = None, True, 0
        self.rounds(int((SILENT_SECONDS + 2 * ANNOUNCE_SECONDS) / ROUND_SECONDS))
        ownership = self.desired.ownership()
        wanted = {
            (app.domain, f"/apps/{app.uid}/sockets/{app.domain}")
            for app in self.apps.values()
            if ownership.refusal(app.uid, app.domain) is None
            and app.pem == self.desired.pem(CUSTOMER_OF[app.uid])
        }
        wanted |= {(marker(name), "/503") for name in ownership.domains} | {(FALLBACK, "/421")}
        for table in self.router.tables:
            assert wanted <= set(table) <= wanted | self.waiting(ownership)

    def waiting(self, ownership: Ownership) -> set[tuple[str, str]]:
        """Whose date lies ahead: they may wait for their clock, or be dead; nobody can tell."""
        said = ((uid, packet.parse(data)) for uid, data in self.said)
        return {
            (item.key, f"/apps/{uid}/sockets/{item.key}")
            for uid, item in said
            if item.unix > self.clock().unix + FUTURE_SECONDS
            and ownership.refusal(uid, item.key) is None
        }

    def teardown(self) -> None:
        """Once the clock is where it was at its latest, nobody is waited for."""
        if hasattr(self, "machine"):
            self.all_is_quiet()
            dates = [packet.parse(data).unix for _, data in self.said]
            self.offset = max([self.offset, *(date - self.monotonic for date in dates)])
            self.all_is_quiet()
            assert self.waiting(self.desired.ownership()) == set()


def signed(values: dict[str, str | int], pem: str, *, leave: bool = False) -> bytes:
    plain = packet.build(values, leave=leave)
    body = plain[4:] + b"\x04\x00sign\x20\x00" + sign(pem, plain[4:])
    return b"\xe0" + len(body).to_bytes(2, "little") + plain[3:4] + body


TestGatekeeper = Gatekeeper.TestCase


def test_an_app_that_died_after_the_clock_went_back_is_missed_when_the_clock_is_there() -> None:
    found = Gatekeeper()
    found.begin()
    found.app_starts(APPS[0])
    found.clock_jumps(-HOUR)
    found.app_ends(APPS[0], False)
    found.all_is_quiet()
    assert found.machine.table.routes
    found.clock_jumps(HOUR)
    found.all_is_quiet()
    assert not found.machine.table.routes
    found.teardown()


def test_what_was_said_before_the_clock_went_back_is_no_news_when_it_is_there_again() -> None:
    """Also not to a gate that began in between."""
    found = Gatekeeper()
    found.begin()
    found.app_starts(APPS[0])
    said = found.said[-1]
    found.app_ends(APPS[0], False)
    found.clock_jumps(-HOUR)
    found.rounds(200)
    found.gate_is_killed()
    found.offset = 1_000_000_000.0 + 1000.0 - found.monotonic
    assert packet.parse(said[1]).unix == found.clock().unix
    kept = b"".join(found.disk.accepted or [])
    found.hear(*said)
    assert b"".join(found.disk.accepted or []) == kept, "it was accepted again"
    found.teardown()
