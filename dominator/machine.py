"""The gate as a state machine: an event and the time in, effects in their order out, no I/O.

The order is what makes a kill between any two effects harmless. What was accepted is kept before
anybody acts on it, so nothing is accepted twice. A route is kept before the router hears of it, and
kept until the router has heard that it left: the router believes a route for a day, and whoever
comes next must know what to withdraw.
"""

from collections.abc import Iterator
from contextlib import suppress

from insula.dominator import events, packet
from insula.dominator.events import Clock, Effect, Event, RouterIdentity, Send
from insula.dominator.gate import Gate, Verdict
from insula.dominator.history import KEPT_SECONDS
from insula.dominator.ownership import Ownership
from insula.dominator.reasons import Reason
from insula.dominator.table import Place, Route, Table, journal_line, marker, marker_packet
from insula.vassals.errors import InvalidValue

ROUND_SECONDS = 0.5
# A page that was away for a moment is marked dead by the router until it is announced again.
MARKERS_SECONDS = 20.0
FORGET_SECONDS = KEPT_SECONDS + 2.0
REFUSAL_LOG_SECONDS = 10.0
# A gate that was stopped or starved for longer has not listened.
DEAF_SECONDS = 5.0
FALLBACK = "unknown/"


class Machine:
    """The routing table, what the router has still to hear, and when each duty was last done."""

    def __init__(self, gate: Gate, *, pages_503: str, pages_421: str) -> None:
        self.gate = gate
        self.pages_503, self.pages_421 = pages_503, pages_421
        self.table = Table()
        # What the router has not taken yet; one word a place, the last one.
        self.owed: dict[Place, Send] = {}
        self.attached: tuple[str, ...] = ()
        # The router that knows the whole table, and the one that is being told it.
        self.whole: RouterIdentity = None
        self.replaying: RouterIdentity = None
        self._replay_began = 0.0
        self._marker_turn = 0
        self._unsaved = False
        self._unrouted: dict[Place, str] = {}  # new routes and where their apps want to be told
        self._told: dict[tuple[int, Reason], float] = {}
        self._forgot_at = 0.0
        self._round_at = 0.0

    def handle(self, event: Event, clock: Clock) -> list[Effect]:
        """What is to be done now, in this order."""
        return list(self._effects(event, clock))

    def _effects(self, event: Event, clock: Clock) -> Iterator[Effect]:
        match event:
            case events.Started():
                yield from self._start(event, clock)
            case events.Owned(ownership):
                yield from self._own(ownership)
            case events.Heard():
                yield from self._take(self.gate.decide(event, clock), clock)
            case events.Paused(uid):
                yield from self._refuse(Verdict(uid, Reason.TOO_MANY), clock)
            case events.Round(router):
                yield from self._round(router, clock)
            case events.Replayed(router):
                yield from self._end_replay(router)
            case events.Took(sent):
                yield from self._took(sent, clock)
            case events.Unsaved():
                self._unsaved = True
            case events.Stopping():
                yield from self._save()

    def _start(self, event: events.Started, clock: Clock) -> Iterator[Effect]:
        with suppress(InvalidValue):
            self.table.load(event.table, now=clock.monotonic)
        self.table.redo(event.journal, now=clock.monotonic)
        if event.accepted is None:
            self.gate.not_before = clock.unix
        else:
            self.gate.history.load(event.accepted, clock)
        self._forgot_at = self._round_at = clock.monotonic
        self._unsaved = bool(event.journal)
        for route in self.table.leaving.values():
            self._owe(route.place, route.packet(leave=True))
        # The last gate may have been killed before it could take these back.
        for name in event.ownership.detached:
            self._owe_marker(marker(name), leave=True)
        # The first round tells the router everything.
        yield from (item for item in self._own(event.ownership) if not isinstance(item, Send))

    def _own(self, ownership: Ownership) -> Iterator[Effect]:
        """Withdraw what is no longer allowed; the markers follow the domains."""
        self.gate.ownership = ownership
        for route in list(self.table.routes.values()):
            if not ownership.allows(route):
                yield from self._withdraw(route, "no longer allowed")
        known, self.attached = set(self.attached), tuple(ownership.domains)
        for name in known.difference(self.attached):
            yield self._owe_marker(marker(name), leave=True)
        for name in self.attached:
            if name not in known:
                yield self._owe_marker(marker(name))

    def _take(self, verdict: Verdict, clock: Clock) -> Iterator[Effect]:
        route = verdict.route
        if route is None:
            yield from self._refuse(verdict, clock)
            return
        yield events.Remember(verdict.record)
        if verdict.leave:
            if route.place in self.table.routes:
                yield from self._withdraw(self.table.routes[route.place], "left")
            return
        if self.table.put(route, now=clock.monotonic):
            self._unsaved = True
            self._unrouted[route.place] = verdict.notify
            yield events.Keep(journal_line("routed", route))
            yield self._step(route.uid, "announced", route.domain)
            yield _note("route added", uid=route.uid, domain=route.domain, address=route.address)
        yield self._owe(route.place, route.packet())

    def _withdraw(self, route: Route, why: str) -> Iterator[Effect]:
        self.table.leave(route.place)
        self._unrouted.pop(route.place, None)
        self._unsaved = True
        yield events.Keep(journal_line("leaving", route))
        yield _note("route withdrawn", uid=route.uid, domain=route.domain, why=why)
        yield self._owe(route.place, route.packet(leave=True))

    def _refuse(self, verdict: Verdict, clock: Clock) -> Iterator[Effect]:
        """Tell it to the app each time, to log and trace once in a while."""
        reason = verdict.reason
        if reason is None:
            return
        text = f"[insula] refused, {reason.value}: {reason.sentence} {reason.remedy}"
        if verdict.notify:
            yield events.Answer(verdict.notify, text)
        # One line for a reason: else a list of invented names would fill the log.
        place, now = (verdict.uid, reason), clock.monotonic
        if now - self._told.get(place, -REFUSAL_LOG_SECONDS) < REFUSAL_LOG_SECONDS:
            return
        self._told[place] = now
        yield events.Note(
            "warning",
            "refused",
            {"uid": verdict.uid, "code": reason.value, "domain": verdict.domain},
        )
        detail = f"{reason.value} {verdict.domain}".strip()
        yield self._step(verdict.uid, "refused", detail, is_ok=False)

    def _round(self, router: RouterIdentity, clock: Clock) -> Iterator[Effect]:
        now = clock.monotonic
        self._listen(now)
        for route in self.table.silent(now=now):
            place = (route.uid, route.domain, route.address)
            if not self.gate.history.lies_ahead(place, clock):
                yield from self._withdraw(route, "silent")
        if router is not None and router not in (self.whole, self.replaying):
            self._begin_replay(router, now)
        yield from self._all_owed()
        if router is not None and router == self.replaying:
            yield events.AskRouter()
        elif router is not None:
            yield from self._refresh_markers()
        yield from self._save()
        if now - self._forgot_at > FORGET_SECONDS:
            self._forgot_at = now
            self.gate.history.forget(clock)
            yield events.ForgetAccepted(self.gate.history.ahead(clock))

    def _listen(self, now: float) -> None:
        if now - self._round_at > DEAF_SECONDS:
            self.table.excuse(now - self._round_at)
        self._round_at = now

    def _begin_replay(self, router: RouterIdentity, now: float) -> None:
        """Owe this router everything; withdrawals stay, for one of its processes may be old."""
        self.whole, self.replaying, self._replay_began = None, router, now
        for route in self.table.routes.values():
            self._owe(route.place, route.packet())
        for name in self.attached:
            self._owe_marker(marker(name))

    def _end_replay(self, router: RouterIdentity) -> Iterator[Effect]:
        """The fallback says that all is told: no process may hear it that came after that began."""
        if router is not None and router == self.replaying and not self.owed:
            yield self._fallback()

    def _took(self, sent: Send, clock: Clock) -> Iterator[Effect]:
        place = (sent.key, sent.address)
        if sent.key == FALLBACK:
            yield from self._all_told(clock)
        if self.owed.get(place) != sent:
            return
        del self.owed[place]
        leaving, route = self.table.leaving.get(place), self.table.routes.get(place)
        if leaving is not None:
            self.table.gone(place)
            self._unsaved = True
            yield events.Keep(journal_line("gone", leaving))
        elif route is not None and place in self._unrouted:
            notify = self._unrouted.pop(place)
            yield self._step(route.uid, "routed", route.domain)
            if notify:
                yield events.Answer(notify, f"[insula] {route.domain} is routed")

    def _all_told(self, clock: Clock) -> Iterator[Effect]:
        if self.replaying is not None:
            self.whole, self.replaying = self.replaying, None
            seconds = round(clock.monotonic - self._replay_began, 3)
            yield _note("table replayed", routes=len(self.table.routes), seconds=seconds)

    def _all_owed(self) -> Iterator[Effect]:
        """Withdrawals first: a route that may not be is worse than one that is late."""
        leaves = [send for send in self.owed.values() if packet.is_leave(send.packet)]
        yield from leaves
        yield from [send for send in self.owed.values() if not packet.is_leave(send.packet)]

    def _refresh_markers(self) -> Iterator[Effect]:
        """Announce a few each round, all of them in MARKERS_SECONDS: never in one burst.

        What fails is not owed: its turn comes again.
        """
        count = int((len(self.attached) + 1) * ROUND_SECONDS // MARKERS_SECONDS + 1)
        first = self._marker_turn if self._marker_turn <= len(self.attached) else 0
        self._marker_turn = first + count
        for name in self.attached[first : first + count]:
            key = marker(name)
            yield Send(key, self.pages_503, marker_packet(key, self.pages_503))
        if self._marker_turn > len(self.attached):
            yield self._fallback()

    def _save(self) -> Iterator[Effect]:
        if self._unsaved:
            self._unsaved = False
            yield events.SaveTable(self.table.dump())
            yield events.ClearJournal()

    def _owe(self, place: Place, data: bytes) -> Send:
        self.owed[place] = send = Send(*place, data)
        return send

    def _owe_marker(self, key: str, *, leave: bool = False) -> Send:
        data = marker_packet(key, self.pages_503)
        return self._owe((key, self.pages_503), packet.as_leave(data) if leave else data)

    def _fallback(self) -> Send:
        return Send(FALLBACK, self.pages_421, marker_packet(FALLBACK, self.pages_421))

    def _step(self, uid: int, step: str, detail: str, *, is_ok: bool = True) -> events.Step:
        generation = self.gate.ownership.generation_of.get(uid, 0)
        return events.Step(uid, generation, step, detail, is_ok)


def _note(event: str, **fields: object) -> events.Note:
    return events.Note("info", event, fields)
