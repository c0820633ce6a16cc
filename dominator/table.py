"""The routing table: which app answers which domain, and until when it is believed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from insula.dominator import packet
from insula.vassals.errors import InvalidValue
from insula.vassals.spec import Reader

# Apps announce every 10 s; three may be lost.
SILENT_SECONDS = 35.0


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
    """The routes by (domain, address) and when each was last announced (monotonic seconds)."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Route] = {}
        self._seen: dict[tuple[str, str], float] = {}

    def put(self, route: Route, *, now: float) -> bool:
        """Add or refresh; True when the route is a new one."""
        place = (route.domain, route.address)
        is_new = place not in self.routes
        self.routes[place] = route
        self._seen[place] = now
        return is_new

    def remove(self, domain: str, address: str) -> Route | None:
        self._seen.pop((domain, address), None)
        return self.routes.pop((domain, address), None)

    def silent(self, *, now: float) -> list[Route]:
        """The routes that nobody announced for too long."""
        return [
            self.routes[place] for place, seen in self._seen.items() if now - seen > SILENT_SECONDS
        ]

    def dump(self) -> bytes:
        return json.dumps([asdict(route) for route in self.routes.values()]).encode()

    def load(self, data: bytes, *, now: float) -> None:
        """Take over what the last gate kept; each route counts as announced now.

        Raises InvalidValue when the text is not a table.
        """
        try:
            values: object = json.loads(data)
        except ValueError as error:
            raise InvalidValue("table.json: is not JSON") from error
        items = Reader({"table": values}, "table.json").items("table")
        for i, value in enumerate(items):
            self.put(Route.from_json(value, f"table.json[{i}]"), now=now)


def markers(domains: Mapping[str, int], *, pages_503: str, pages_421: str) -> dict[str, bytes]:
    """The platform's own nodes by key: a marker for each attached domain, and the fallback.

    The slash in these keys is in no host name: the patched router refuses it in a Host header.
    The fallback is the last: a router process without it is not whole yet and serves no wildcard.
    """
    keys = {f"mapped/{name}": pages_503 for name in domains} | {"unknown/": pages_421}
    return {
        key: packet.build({"key": key, "address": address, "weight": 1})
        for key, address in keys.items()
    }
