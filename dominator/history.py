"""What was accepted: nothing twice, nothing earlier; holds across restarts and clock jumps."""

import struct
from dataclasses import dataclass, field
from hashlib import sha256

from insula.dominator.events import Clock

PAST_SECONDS = 15
FUTURE_SECONDS = 2
# As long as this a packet of a clock that stands still or goes right can be accepted again.
KEPT_SECONDS = PAST_SECONDS + FUTURE_SECONDS + 1

_RECORD = struct.Struct(">32s32sqq")

# (uid, domain, address)
Place = tuple[int, str, str]


@dataclass(slots=True)
class _Accepted:
    """The latest date of one place, and each packet's own date and when it came (monotonic)."""

    unix: int
    digests: dict[bytes, tuple[int, float]] = field(default_factory=dict)


class History:
    """The accepted packets by place.

    A date is unix seconds by the machine's clock, which may jump. A place whose latest date lies
    further ahead than any packet may was filled before the clock went back: its order no longer
    counts, or a running app would be refused until the clock is there again. What was accepted
    stays refused in any case until its date is past and it has been here for KEPT_SECONDS.
    """

    def __init__(self) -> None:
        self._places: dict[bytes, _Accepted] = {}

    def accept(
        self, place: Place, *, signed: bytes, unix: int, leave: bool, clock: Clock
    ) -> bytes | None:
        """Remember a packet and return the record that keeps it; None when it is a replay."""
        key, digest = _key(place), sha256(signed).digest()
        known = self._places.setdefault(key, _Accepted(unix))
        if digest in known.digests:
            return None
        if known.unix > clock.unix + FUTURE_SECONDS:
            known.unix = 0
        if unix < known.unix:
            return None
        # A leave is dated one second ahead (core/subscription.c): an app that comes back within
        # that second must be heard, while the leave itself is remembered and works only once.
        known.unix = max(known.unix, unix - int(leave))
        known.digests[digest] = (unix, clock.monotonic)
        return _RECORD.pack(key, digest, unix, known.unix)

    def lies_ahead(self, place: Place, clock: Clock) -> bool:
        """True when the last packet of a place carries a date that the clock has yet to reach.

        uWSGI's master does nothing, announce included, until a clock that went back is where it
        was (core/master.c): such an app is silent and well.
        """
        known = self._places.get(_key(place))
        return known is not None and known.unix > clock.unix + FUTURE_SECONDS

    def ahead(self, clock: Clock) -> tuple[bytes, ...]:
        """The records of packets whose own date the clock has yet to reach, after it went back."""
        return tuple(
            _RECORD.pack(key, digest, unix, known.unix)
            for key, known in self._places.items()
            for digest, (unix, _) in known.digests.items()
            if unix > clock.unix + FUTURE_SECONDS
        )

    def forget(self, clock: Clock) -> None:
        """Drop what can not come again."""
        for key, known in list(self._places.items()):
            known.digests = {
                digest: (unix, came)
                for digest, (unix, came) in known.digests.items()
                if unix >= clock.unix - KEPT_SECONDS or clock.monotonic - came <= KEPT_SECONDS
            }
            if not known.digests:
                del self._places[key]

    def load(self, data: bytes, clock: Clock) -> None:
        """Take over the records of the last gate; a cut one at the end counts as none."""
        for start in range(0, len(data) - _RECORD.size + 1, _RECORD.size):
            key, digest, unix, latest = _RECORD.unpack_from(data, start)
            known = self._places.setdefault(key, _Accepted(latest))
            known.unix = latest
            known.digests[digest] = (unix, clock.monotonic)

    def __len__(self) -> int:
        return sum(len(known.digests) for known in self._places.values())


def _key(place: Place) -> bytes:
    return sha256("\0".join(map(str, place)).encode()).digest()
