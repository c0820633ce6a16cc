"""The routing table: which app answers which domain, and until when it is believed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, cast

from insula.dominator import packet
from insula.vassals.errors import InvalidValue
from insula.vassals.spec import Reader

# Apps announce every 10 s; three may be lost.
SILENT_SECONDS = 35.0

# (domain, address)
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Route:
    """One app of one container behind one domain; ``key_id`` names the key that vouched for it."""

    domain: str
    address: str
    uid: int
    customer_id: int
    key_id: str
    modifier1: int = 0
    modifier2: int = 0
    cores: int = 1
    load: int = 0
    weight: int = 1

    @property
    def place(self) -> Place:
        return self.domain, self.address

    @property
    def voucher(self) -> tuple[int, int, str]:
        """By whose right it is a route."""
        return self.uid, self.customer_id, self.key_id

    def packet(self, *, leave: bool = False) -> bytes:
        """What a router is told: only these keys, never one of the customer's own."""
        return packet.build(
            {
                "key": self.domain,
                "address": self.address,
                "modifier1": self.modifier1,
                "modifier2": self.modifier2,
                "cores": self.cores,
                "load": self.load,
                "weight": self.weight,
            },
            leave=leave,
        )

    @classmethod
    def from_json(cls, value: object, path: str) -> "Route":
        read = Reader(value, path)
        return cls(
            domain=read.text("domain", 255),
            address=read.text("address", 255),
            uid=read.integer("uid", 0, 1 << 31),
            customer_id=read.integer("customer_id", 0, 1 << 31),
            key_id=read.text("key_id", 64),
            modifier1=read.integer("modifier1", 0, 255),
            modifier2=read.integer("modifier2", 0, 255),
            cores=read.integer("cores", 0, 65535),
            load=read.integer("load", 0, 65535),
            weight=read.integer("weight", 1, 256),
        )


class Table:
    """The routes by (domain, address) and when each was last announced (monotonic seconds).

    A withdrawn route is ``leaving`` until the router has heard of it: if its gate is killed first,
    the next one tells the router, which else would believe the route for a day.
    """

    def __init__(self) -> None:
        self.routes: dict[Place, Route] = {}
        self.leaving: dict[Place, Route] = {}
        self._seen: dict[Place, float] = {}

    def put(self, route: Route, *, now: float) -> bool:
        """Add or refresh; True when the route is a new one, or vouched for by another key."""
        known = self.routes.get(route.place)
        self.routes[route.place] = route
        self.leaving.pop(route.place, None)
        self._seen[route.place] = now
        return known is None or known.voucher != route.voucher

    def leave(self, place: Place) -> None:
        """No longer a route, but the router may still have it."""
        self._seen.pop(place, None)
        if place in self.routes:
            self.leaving[place] = self.routes.pop(place)

    def gone(self, place: Place) -> None:
        """The router has heard that the route left."""
        self.leaving.pop(place, None)

    def silent(self, *, now: float) -> list[Route]:
        """The routes that nobody announced for too long."""
        return [
            self.routes[place] for place, seen in self._seen.items() if now - seen > SILENT_SECONDS
        ]

    def excuse(self, seconds: float) -> None:
        """Nobody listened for so long: it is held against no route."""
        self._seen = {place: seen + seconds for place, seen in self._seen.items()}

    def dump(self) -> bytes:
        live = [asdict(route) for route in self.routes.values()]
        leaving = [asdict(route) | {"leaving": True} for route in self.leaving.values()]
        return json.dumps([*live, *leaving]).encode()

    def load(self, data: bytes, *, now: float) -> None:
        """Take over what the last gate kept; each route counts as announced now.

        Raises InvalidValue when the text is not a table.
        """
        for i, value in enumerate(Reader({"table": _json(data)}, "table.json").items("table")):
            path = f"table.json[{i}]"
            route = Route.from_json(value, path)
            self.put(route, now=now)
            if isinstance(value, Mapping) and value.get("leaving") is True:
                self.leave(route.place)

    def redo(self, journal: bytes, *, now: float) -> None:
        """Do again what the journal says; it ends at a line that was cut.

        Every line states what became of one place, so lines that the saved table knows do no harm.
        """
        for line in journal.splitlines():
            try:
                read = Reader(_json(line), "table.journal")
                kind = read.choice("is", ("routed", "leaving", "gone"))
                route = Route.from_json(read.field("route"), "table.journal")
            except InvalidValue:
                return
            self.put(route, now=now)
            if kind != "routed":
                self.leave(route.place)
            if kind == "gone":
                self.gone(route.place)


def journal_line(kind: Literal["routed", "leaving", "gone"], route: Route) -> bytes:
    """What the journal says about one place from now on."""
    return json.dumps({"is": kind, "route": asdict(route)}).encode() + b"\n"


def _json(data: bytes) -> object:
    try:
        return cast(object, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise InvalidValue("the kept table is not JSON") from error


def marker(name: str) -> str:
    """The key by which the router knows that a domain is attached.

    The slash is in no host name: the patched router refuses it in a Host header.
    """
    return f"mapped/{name}"


def marker_packet(key: str, page: str) -> bytes:
    """The platform's own node behind a marker or behind the fallback."""
    return packet.build({"key": key, "address": page, "weight": 1})
