"""The gate's life: a thread waits for the feed, the loop carries events in and effects out."""

import os
import socket
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from insula.dominator import events
from insula.dominator.events import Clock, Effect, Event, Send
from insula.dominator.gate import Gate, socket_name
from insula.dominator.inbox import Datagram, Inbox
from insula.dominator.keeping import Keeping
from insula.dominator.machine import ROUND_SECONDS, Machine
from insula.dominator.ownership import Ownership
from insula.dominator.packet import MalformedPacket, parse
from insula.dominator.router import Router
from insula.emperor.daemon.desired import merged
from insula.emperor.daemon.feed import FeedClient, fetch_from, read_local
from insula.emperor.daemon.log import Log
from insula.emperor.daemon.trace import Trace
from insula.emperor.settings import Node
from insula.vassals.errors import InsulaError

FAILURE_LOG_SECONDS = 10.0


class Daemon:
    """Everything the loop owns; what to do is the machine's to say."""

    def __init__(self, node: Node, log: Log) -> None:
        self.node, self.log = node, log
        paths = node.paths
        self.trace = Trace(paths, "dominator")
        self.router = Router(paths.router)
        self.inbox = Inbox(paths.subscribe(0).parent)
        self.keeping = Keeping(paths.dominator)
        self.client = FeedClient(
            fetch_from(paths.api_node / "api.sock"), paths.dominator / "feed.json"
        )
        self.client.load()
        self.news = threading.Event()
        self.machine = Machine(
            Gate(self._ownership(), node.settings.ip_network, str(paths.apps)),
            pages_503=str(self.router.pages_503),
            pages_421=str(self.router.pages_421),
        )
        # A router that did not take a packet is asked again in the next round.
        self.is_router_busy = False
        self.failures: dict[str, float] = {}
        self.answer_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def start(self) -> None:
        """Take over what the last gate left and begin to wait for the feed."""
        kept = self.keeping
        ownership = self.machine.gate.ownership
        self._tell(events.Started(ownership, kept.table(), kept.journal(), kept.accepted()))
        kept.begin()
        threading.Thread(target=self._poll_feed, daemon=True, name="feed").start()

    def round(self) -> None:
        """Look after state, router and silent apps, then read what comes within half a second."""
        started = time.monotonic()
        self.is_router_busy = False
        self.inbox.refresh(now=started)
        self._hear_news()
        self._tell(events.Round(self.router.identity()))
        while (left := ROUND_SECONDS - (time.monotonic() - started)) > 0:
            datagrams, paused = self.inbox.wait(left, now=time.monotonic())
            for item in datagrams:
                self._tell(self._heard(item))
            for uid in paused:
                self._tell(events.Paused(uid))

    def stop(self) -> None:
        """Leave the table behind."""
        self._tell(events.Stopping())

    def _hear_news(self) -> None:
        if not self.news.is_set():
            return
        self.news.clear()
        try:
            self._tell(events.Owned(self._ownership()))
        except InsulaError:
            self.news.set()  # a change that could not be applied is tried again
            raise

    def _heard(self, item: Datagram) -> events.Heard:
        try:
            packet = parse(item.data)
        except MalformedPacket:
            return events.Heard(item.socket_uid, item.sender_uid, None, False)
        name = socket_name(packet)
        is_socket = bool(name) and self._is_own_socket(item.socket_uid, name)
        return events.Heard(item.socket_uid, item.sender_uid, packet, is_socket)

    def _is_own_socket(self, uid: int, name: str) -> bool:
        try:
            found = os.lstat(self.node.paths.apps / str(uid) / "sockets" / name)
        except OSError:
            return False
        return stat.S_ISSOCK(found.st_mode) and found.st_uid == uid

    def _tell(self, event: Event) -> None:
        self._carry_out(self.machine.handle(event, Clock(time.time(), time.monotonic())))

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            try:
                self._do(effect)
            except (OSError, InsulaError) as error:
                # A full disk must not make the gate deaf. What follows a table that was not saved
                # is left out, its journal above all; what the router should hear stays owed.
                self._tell_failure(f"{type(effect).__name__}: {error}")
                if isinstance(effect, events.SaveTable):
                    self._tell(events.Unsaved())
                    return

    def _tell_failure(self, text: str) -> None:
        now = time.monotonic()
        if now - self.failures.get(text, -FAILURE_LOG_SECONDS) >= FAILURE_LOG_SECONDS:
            recent = {
                key: at for key, at in self.failures.items() if now - at < FAILURE_LOG_SECONDS
            }
            self.failures = recent | {text: now}
            hint = "a gate that is killed now leaves routes behind: make room below run/insula"
            self.log.error("not kept", error=text, hint=hint)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(effect)
            case events.AskRouter():
                self._tell(events.Replayed(self.router.identity()))
            case events.Remember(record):
                self.keeping.remember(record)
            case events.ForgetAccepted(ahead):
                self.keeping.forget_accepted(ahead)
            case events.Keep(line):
                self.keeping.keep(line)
            case events.SaveTable(data):
                self.keeping.save_table(data)
            case events.ClearJournal():
                self.keeping.clear_journal()
            case events.Answer(path, text):
                with suppress(OSError):
                    self.answer_socket.sendto(text.encode(), path)
            case events.Step():
                self._trace(effect)
            case events.Note("info", event, fields):
                self.log.info(event, **fields)
            case events.Note(_, event, fields):
                self.log.warning(event, **fields)

    def _send(self, effect: Send) -> None:
        if not self.is_router_busy and self.router.send(effect.packet):
            self._tell(events.Took(effect))
        else:
            self.is_router_busy = True

    def _trace(self, step: events.Step) -> None:
        with suppress(OSError):
            self.trace.step(
                step.uid,
                step.step,
                generation=step.generation,
                state="ok" if step.is_ok else "failed",
                detail=step.detail,
            )

    def _ownership(self) -> Ownership:
        return Ownership(merged(read_local(self.node.paths.local_json), self.client.state))

    def _poll_feed(self) -> None:
        wait, told = 0.25, ""
        while True:
            try:
                if self.client.poll():
                    self.news.set()
                wait, told = 0.25, ""
            except Exception as error:  # a daemon without this thread would be deaf
                if (str(error) or repr(error)) != told:
                    told = str(error) or repr(error)
                    self.log.warning("no feed, the routes stay as they are", error=told)
                time.sleep(wait)
                wait = min(wait * 2, 15.0)
