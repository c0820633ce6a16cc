"""Decides about one announcement, in pure code: whose is it, may it be, is it new?"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Network

from insula.dominator.ownership import Ownership
from insula.dominator.packet import MalformedPacket, Packet, parse
from insula.dominator.reasons import Reason
from insula.dominator.table import Route
from insula.vassals import identity, names
from insula.vassals.errors import InvalidValue

PAST_SECONDS = 15
FUTURE_SECONDS = 2
INSIDE_SOCKETS = "/run/sockets/"
# uWSGI copies at most this many bytes of a socket's name (core/protocol.c, core/subscription.c).
SOCKET_NAME_LIMIT = 102

# (uid, file name below its sockets directory) -> True when it is a socket of that uid
OwnsSocket = Callable[[int, str], bool]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one datagram: a route to announce or withdraw, or a reason to refuse."""

    uid: int
    reason: Reason | None = None
    route: Route | None = None
    leave: bool = False
    domain: str = ""
    notify: str = ""


@dataclass
class _History:
    """What was accepted for one domain and address: nothing earlier, and nothing twice."""

    unix: int
    digests: dict[bytes, int] = field(default_factory=dict)


@dataclass
class Gate:
    """The checks in their order, cheap ones first; remembers only times and digests."""

    ownership: Ownership
    network: IPv4Network
    apps: str
    owns_socket: OwnsSocket
    started: float
    _history: dict[tuple[int, str, str], _History] = field(default_factory=dict)

    def decide(self, data: bytes, *, socket_uid: int, sender_uid: int, now: float) -> Verdict:
        """``now`` is unix seconds, the clock of the container's packets."""
        if sender_uid != socket_uid:
            return Verdict(socket_uid, Reason.WRONG_CREDENTIALS)
        try:
            packet = parse(data)
        except MalformedPacket:
            return Verdict(socket_uid, Reason.MALFORMED)
        notify = self._notify(socket_uid, packet.notify)
        try:
            domain = names.domain(packet.key, path="key")
        except InvalidValue:
            return Verdict(socket_uid, Reason.INVALID_DOMAIN, notify=notify)
        reason, address = self._check(packet, domain, uid=socket_uid, now=now)
        if reason is not None:
            return Verdict(socket_uid, reason, domain=domain, notify=notify)
        customer = self.ownership.customer_of[socket_uid]
        route = Route(
            domain=domain,
            address=address,
            uid=socket_uid,
            customer_id=customer,
            key_id=self.ownership.key_id.get(customer, ""),
            modifier1=packet.modifier1,
            modifier2=packet.modifier2,
            cores=packet.cores,
            load=packet.load,
            weight=packet.weight,
        )
        return Verdict(socket_uid, None, route, packet.leave, domain, notify)

    def _check(
        self, packet: Packet, domain: str, *, uid: int, now: float
    ) -> tuple[Reason | None, str]:
        reason = self.ownership.refusal(uid, domain)
        if reason is not None:
            return reason, ""
        if not packet.signature or not packet.unix:
            return Reason.UNSIGNED, ""
        reason = self._time(packet.unix, now)
        if reason is not None:
            return reason, ""
        address = self._address(packet, uid=uid)
        if not address:
            return Reason.FOREIGN_ADDRESS, ""
        if not self.ownership.keys.verifies(
            self.ownership.customer_of[uid], signed=packet.signed, signature=packet.signature
        ):
            return Reason.BAD_SIGNATURE, ""
        if self._is_replayed(packet, (uid, domain, address)):
            return Reason.REPLAYED, ""
        return None, address

    def _time(self, unix: int, now: float) -> Reason | None:
        # Before its own start a gate cannot know what the one before it has accepted.
        if unix < now - PAST_SECONDS or unix < int(self.started):
            return Reason.STALE
        return Reason.FUTURE if unix > now + FUTURE_SECONDS else None

    def _address(self, packet: Packet, *, uid: int) -> str:
        """The address as the host sees it, or nothing when it is not the container's own."""
        if packet.address.startswith(INSIDE_SOCKETS):
            name = packet.address.removeprefix(INSIDE_SOCKETS)
            host = f"{self.apps}/{uid}/sockets/{name}"
            if not names.is_token(name) or len(host) > SOCKET_NAME_LIMIT:
                return ""
            # An app that ends may have removed its socket before it says that it leaves.
            return host if packet.leave or self.owns_socket(uid, name) else ""
        ip, _, port = packet.address.partition(":")
        if ip != str(identity.address_of(uid, self.network)) or not port.isdigit():
            return ""
        return f"{ip}:{int(port)}" if len(port) <= 5 and 1 <= int(port) <= 65535 else ""

    def _notify(self, uid: int, path: str) -> str:
        name = path.removeprefix(INSIDE_SOCKETS)
        if name == path or not names.is_token(name):
            return ""
        return f"{self.apps}/{uid}/sockets/{name}"

    def _is_replayed(self, packet: Packet, place: tuple[int, str, str]) -> bool:
        digest = sha256(packet.signed).digest()
        history = self._history.setdefault(place, _History(packet.unix))
        if packet.unix < history.unix or digest in history.digests:
            return True
        # A leave is dated one second ahead (core/subscription.c): an app that comes back within
        # that second must be heard, while the leave itself is remembered and works only once.
        history.unix = max(history.unix, packet.unix - int(packet.leave))
        history.digests[digest] = packet.unix
        history.digests = {d: t for d, t in history.digests.items() if t >= history.unix}
        return False

    def forget(self, *, now: float) -> None:
        """Drop histories whose packets are too old to come again."""
        limit = now - PAST_SECONDS - FUTURE_SECONDS - 1
        self._history = {k: h for k, h in self._history.items() if h.unix >= limit}
