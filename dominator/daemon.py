"""The gate's life: a thread waits for the feed, the loop hears apps and tells the router."""

import contextlib
import os
import socket
import stat
import threading
import time

from insula.dominator.gate import Gate, Verdict
from insula.dominator.inbox import Inbox
from insula.dominator.ownership import Ownership
from insula.dominator.packet import as_leave
from insula.dominator.reasons import Reason
from insula.dominator.router import Router
from insula.dominator.table import Route, Table, markers
from insula.emperor.daemon.feed import FeedClient, fetch_from, merged, read_local
from insula.emperor.daemon.files import write_atomic
from insula.emperor.daemon.log import Log
from insula.emperor.daemon.trace import Trace
from insula.emperor.errors import FeedError
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError, InvalidValue

ROUND_SECONDS = 0.5
# A page that was away for a moment is marked dead by the router until it is announced again.
MARKERS_SECONDS = 20.0
FORGET_SECONDS = 20.0
REFUSAL_LOG_SECONDS = 10.0


class Daemon:
    """Everything the loop owns."""

    def __init__(self, node: Node, log: Log) -> None:
        self.node, self.log = node, log
        paths = node.paths
        self.trace = Trace(paths, "dominator")
        self.router = Router(paths.router)
        self.inbox = Inbox(paths.subscribe(0).parent)
        self.table = Table()
        self.client = FeedClient(
            fetch_from(paths.api_node / "api.sock"), paths.dominator / "feed.json"
        )
        self.client.load()
        self.news = threading.Event()
        self.gate = Gate(
            self._ownership(),
            node.settings.ip_network,
            str(paths.apps),
            self._owns_socket,
            time.time(),
        )
        self.table_path = paths.dominator / "table.json"
        self.is_unsaved = False
        self.router_identity: tuple[object, ...] | None = None
        self.markers: dict[str, bytes] = {}
        self.marker_turn = 0
        self.forgot_at = 0.0
        # Withdrawals that a busy router has not taken yet, by key and address.
        self.unsent: dict[tuple[str, str], bytes] = {}
        self.told: dict[tuple[int, Reason, str], float] = {}
        self.answer_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def start(self) -> None:
        """Take over the last gate's table and begin to wait for the feed."""
        with contextlib.suppress(FileNotFoundError, InvalidValue):
            self.table.load(self.table_path.read_bytes(), now=time.monotonic())
        self._apply_state()
        threading.Thread(target=self._poll_feed, daemon=True, name="feed").start()

    def round(self) -> None:
        """Read what came within half a second, then look after state, router and silent apps."""
        started = time.monotonic()
        self._housekeeping(started)
        while (left := ROUND_SECONDS - (time.monotonic() - started)) > 0:
            datagrams, paused = self.inbox.wait(left, now=time.monotonic())
            for item in datagrams:
                self._take(
                    self.gate.decide(
                        item.data,
                        socket_uid=item.socket_uid,
                        sender_uid=item.sender_uid,
                        now=time.time(),
                    )
                )
            for uid in paused:
                self._refuse(Verdict(uid, Reason.TOO_MANY))

    def _housekeeping(self, now: float) -> None:
        self.inbox.refresh(now=now)
        if self.news.is_set():
            self.news.clear()
            try:
                self._apply_state()
            except InsulaError:
                self.news.set()  # a change that could not be applied is tried again
                raise
        for route in self.table.silent(now=now):
            self._withdraw(route, "silent")
        for place, packet in list(self.unsent.items()):
            if not self.router.send(packet):
                break
            del self.unsent[place]
        identity = self.router.identity()
        if identity != self.router_identity and identity is not None:
            if self._replay(identity):
                self.router_identity = identity
                seconds = round(time.monotonic() - now, 3)
                self.log.info("table replayed", routes=len(self.table.routes), seconds=seconds)
        else:
            self._refresh_markers()
        self.keep_table()
        if now - self.forgot_at > FORGET_SECONDS:
            self.forgot_at = now
            self.gate.forget(now=time.time())

    def _replay(self, identity: tuple[object, ...]) -> bool:
        routes = [route.packet() for route in self.table.routes.values()]
        *mapped, fallback = self.markers.values()
        # The fallback says that all is told: no process may hear it that came after the first word.
        return (
            self.router.send_all([*routes, *mapped])
            and self.router.identity() == identity
            and self.router.send(fallback)
        )

    def _refresh_markers(self) -> None:
        """Announce a few each round, all of them in MARKERS_SECONDS: never in one burst."""
        packets = list(self.markers.values())
        count = len(packets) * ROUND_SECONDS // MARKERS_SECONDS + 1
        first = self.marker_turn if self.marker_turn < len(packets) else 0
        self.marker_turn = first + int(count)
        self.router.send_all(packets[first : self.marker_turn])

    def _take(self, verdict: Verdict) -> None:
        route = verdict.route
        if route is None:
            self._refuse(verdict)
            return
        if verdict.leave:
            if (route.domain, route.address) in self.table.routes:
                self._withdraw(route, "left")
            return
        is_new = self.table.put(route, now=time.monotonic())
        if is_new:
            self._step(route.uid, "announced", route.domain)
        self.unsent.pop((route.domain, route.address), None)
        sent = self.router.send(route.packet())
        if not sent:
            self.router_identity = None
        if is_new:
            if sent:
                self._step(route.uid, "routed", route.domain)
            self.is_unsaved = True
            self.log.info("route added", uid=route.uid, domain=route.domain, address=route.address)
            self._answer(verdict.notify, f"[insula] {route.domain} is routed")

    def _withdraw(self, route: Route, why: str) -> None:
        self.table.remove(route.domain, route.address)
        self._tell_leave(route.domain, route.address, route.packet(leave=True))
        self.is_unsaved = True
        self.log.info("route withdrawn", uid=route.uid, domain=route.domain, why=why)

    def _tell_leave(self, key: str, address: str, packet: bytes) -> None:
        if not self.router.send(packet):
            self.unsent[key, address] = packet

    def _refuse(self, verdict: Verdict) -> None:
        """Tell it to the app each time, to log and trace once in a while."""
        if verdict.reason is None:
            return
        reason, now = verdict.reason, time.monotonic()
        self._answer(
            verdict.notify, f"[insula] refused, {reason.value}: {reason.sentence} {reason.remedy}"
        )
        # One line for a reason: else a list of invented names would fill the log.
        place = (verdict.uid, reason, "")
        if now - self.told.get(place, -REFUSAL_LOG_SECONDS) < REFUSAL_LOG_SECONDS:
            return
        self.told[place] = now
        self.log.warning("refused", uid=verdict.uid, code=reason.value, domain=verdict.domain)
        self._step(verdict.uid, "refused", f"{reason.value} {verdict.domain}".strip(), ok=False)

    def _answer(self, path: str, text: str) -> None:
        if path:
            with contextlib.suppress(OSError):
                self.answer_socket.sendto(text.encode(), path)

    def _step(self, uid: int, step: str, detail: str, *, ok: bool = True) -> None:
        generation = self.gate.ownership.generation_of.get(uid, 0)
        with contextlib.suppress(OSError):
            self.trace.step(
                uid, step, generation=generation, state="ok" if ok else "failed", detail=detail
            )

    def keep_table(self) -> None:
        """Write the table if it changed; once a round, or each of many new names costs a write.

        What a killed gate did not write its apps announce again within ten seconds, and the next
        one's checks drop a route that it may no longer hold.
        """
        if not self.is_unsaved:
            return
        owner, group = os.geteuid(), os.getegid()
        write_atomic(self.table_path, self.table.dump(), mode=0o600, owner=owner, group=group)
        self.is_unsaved = False

    def _owns_socket(self, uid: int, name: str) -> bool:
        try:
            found = os.lstat(self.node.paths.apps / str(uid) / "sockets" / name)
        except OSError:
            return False
        return stat.S_ISSOCK(found.st_mode) and found.st_uid == uid

    def _ownership(self) -> Ownership:
        return Ownership(merged(read_local(self.node.paths.local_json), self.client.state))

    def _apply_state(self) -> None:
        """Withdraw what the desired state no longer allows; markers follow the domains."""
        self.gate.ownership = ownership = self._ownership()
        for route in list(self.table.routes.values()):
            key_id = ownership.key_id.get(route.customer_id, "")
            moved = ownership.customer_of.get(route.uid) != route.customer_id
            if moved or key_id != route.key_id or ownership.refusal(route.uid, route.domain):
                self._withdraw(route, "no longer allowed")
        pages_503, pages_421 = str(self.router.pages_503), str(self.router.pages_421)
        wanted = markers(ownership.domains, pages_503=pages_503, pages_421=pages_421)
        for key in set(self.markers) - set(wanted):
            self._tell_leave(key, pages_503, as_leave(self.markers[key]))
        fresh = [(key, packet) for key, packet in wanted.items() if key not in self.markers]
        self.markers = wanted
        for key, _ in fresh:
            self.unsent.pop((key, pages_503), None)
        if not self.router.send_all([packet for _, packet in fresh]):
            self.router_identity = None

    def _poll_feed(self) -> None:
        wait, told = 0.25, ""
        while True:
            try:
                if self.client.poll():
                    self.news.set()
                wait, told = 0.25, ""
            except (FeedError, InsulaError, OSError) as error:
                if str(error) != told:
                    told = str(error)
                    self.log.warning("no feed, the routes stay as they are", error=told)
                time.sleep(wait)
                wait = min(wait * 2, 15.0)
