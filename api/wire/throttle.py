"""Slows down whoever guesses passwords, by address: a stranger never locks a customer out."""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable

BURST = 20
REFILL_SECONDS = 6.0
MAXIMUM_ADDRESSES = 10_000


class Throttle:
    """A bucket of guesses for each address; what turns out to be right is given back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        # left guesses and when that was counted; the one longest unused first
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Take one guess; False when none is left."""
        key, now = network_of(address), self.clock()
        with self.lock:
            left, at = self.buckets.pop(key, (float(BURST), now))
            left = min(float(BURST), left + (now - at) / REFILL_SECONDS)
            is_left = left >= 1
            self.buckets[key] = (left - 1 if is_left else left, now)
            if len(self.buckets) > MAXIMUM_ADDRESSES:
                self.buckets.popitem(last=False)
        return is_left

    def give_back(self, address: str) -> None:
        key = network_of(address)
        with self.lock:
            if key in self.buckets:
                left, at = self.buckets[key]
                self.buckets[key] = (left + 1, at)


def network_of(address: str) -> str:
    """The address, or of IPv6 the /64 that one subscriber usually has whole."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
