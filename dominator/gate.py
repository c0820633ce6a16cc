"""Decides about one announcement, in pure code: whose is it, may it be, is it new?"""

from dataclasses import dataclass, field
from ipaddress import IPv4Network

from insula.dominator.events import Clock, Heard
from insula.dominator.history import FUTURE_SECONDS, PAST_SECONDS, History
from insula.dominator.ownership import Ownership
from insula.dominator.packet import Packet
from insula.dominator.reasons import Reason
from insula.dominator.table import Route
from insula.vassals import identity, names
from insula.vassals.errors import InvalidValue

INSIDE_SOCKETS = "/run/sockets/"
# uWSGI copies at most this many bytes of a socket's name (core/protocol.c, core/subscription.c).
SOCKET_NAME_LIMIT = 102


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one datagram: a route to announce or withdraw, or a reason to refuse.

    ``record`` is what must be kept of an accepted packet before anybody acts on it.
    """

    uid: int
    reason: Reason | None = None
    route: Route | None = None
    leave: bool = False
    domain: str = ""
    notify: str = ""
    record: bytes = b""


@dataclass
class Gate:
    """The checks in their order, cheap ones first; remembers only times and digests.

    ``not_before`` is the unix time of a start without a history: what an older gate has accepted
    nobody knows then. None when the history is whole.
    """

    ownership: Ownership
    network: IPv4Network
    apps: str
    not_before: float | None = None
    history: History = field(default_factory=History)

    def decide(self, heard: Heard, clock: Clock) -> Verdict:
        """Judge one datagram; an accepted one is in the history from now on."""
        uid, packet = heard.socket_uid, heard.packet
        if heard.sender_uid != uid:
            return Verdict(uid, Reason.WRONG_CREDENTIALS)
        if packet is None:
            return Verdict(uid, Reason.MALFORMED)
        notify = self._notify(uid, packet.notify)
        try:
            domain = names.domain(packet.key, path="key")
        except InvalidValue:
            return Verdict(uid, Reason.INVALID_DOMAIN, notify=notify)
        address = self._address(heard, packet)
        reason = self._refusal(packet, domain, address, uid=uid, clock=clock)
        if reason is not None:
            return Verdict(uid, reason, domain=domain, notify=notify)
        record = self.history.accept(
            (uid, domain, address),
            signed=packet.signed,
            unix=packet.unix,
            leave=packet.leave,
            clock=clock,
        )
        if record is None:
            return Verdict(uid, Reason.REPLAYED, domain=domain, notify=notify)
        route = self._route(packet, domain, address, uid=uid)
        return Verdict(uid, None, route, packet.leave, domain, notify, record)

    def _refusal(
        self, packet: Packet, domain: str, address: str, *, uid: int, clock: Clock
    ) -> Reason | None:
        reason = self.ownership.refusal(uid, domain)
        if reason is not None:
            return reason
        if not packet.signature or not packet.unix:
            return Reason.UNSIGNED
        reason = self._time(packet.unix, clock.unix)
        if reason is not None:
            return reason
        if not address:
            return Reason.FOREIGN_ADDRESS
        verifies = self.ownership.keys.verifies(
            self.ownership.customer_of[uid], signed=packet.signed, signature=packet.signature
        )
        return None if verifies else Reason.BAD_SIGNATURE

    def _time(self, unix: int, now: float) -> Reason | None:
        if self.not_before is not None:
            # A clock that went back behind the start would make every app wait for it.
            self.not_before = min(self.not_before, now)
            if unix < int(self.not_before):
                return Reason.STALE
        if unix < now - PAST_SECONDS:
            return Reason.STALE
        return Reason.FUTURE if unix > now + FUTURE_SECONDS else None

    def _address(self, heard: Heard, packet: Packet) -> str:
        """The address as the host sees it, or nothing when it is not the container's own."""
        uid, name = heard.socket_uid, socket_name(packet)
        if name:
            host = f"{self.apps}/{uid}/sockets/{name}"
            if len(host) > SOCKET_NAME_LIMIT:
                return ""
            # An app that ends may have removed its socket before it says that it leaves.
            return host if packet.leave or heard.is_socket else ""
        ip, _, port = packet.address.partition(":")
        if ip != str(identity.address_of(uid, self.network)) or not port.isdigit():
            return ""
        return f"{ip}:{int(port)}" if len(port) <= 5 and 1 <= int(port) <= 65535 else ""

    def _route(self, packet: Packet, domain: str, address: str, *, uid: int) -> Route:
        customer = self.ownership.customer_of[uid]
        return Route(
            domain=domain,
            address=address,
            uid=uid,
            customer_id=customer,
            key_id=self.ownership.key_id.get(customer, ""),
            modifier1=packet.modifier1,
            modifier2=packet.modifier2,
            cores=packet.cores,
            load=packet.load,
            weight=packet.weight,
        )

    def _notify(self, uid: int, path: str) -> str:
        name = path.removeprefix(INSIDE_SOCKETS)
        if name == path or not names.is_token(name):
            return ""
        return f"{self.apps}/{uid}/sockets/{name}"


def socket_name(packet: Packet) -> str:
    """The file name of the address below the container's sockets; '' when it is none."""
    name = packet.address.removeprefix(INSIDE_SOCKETS)
    return name if name != packet.address and names.is_token(name) else ""
