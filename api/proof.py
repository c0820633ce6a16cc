"""Asks the DNS whether a customer holds a domain: a TXT record with its uuid, there or above.

With a resolver of the operator's choice all questions go there. Without one the zone's own name
servers are asked, so that a record set a moment ago counts although its absence is still cached;
those of a private address are not: a zone's owner must not make the API talk to the inside.
"""

import ipaddress
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.conf import settings

from insula.api.errors import ApiError, Code

if TYPE_CHECKING:
    import dns.resolver

WALK_SECONDS = 8.0
QUESTION_SECONDS = 3.0
MAXIMUM_SERVERS = 4
MAXIMUM_PARENTS = 8
# The door has six threads: a slow name server must not hold them all.
_walking = threading.BoundedSemaphore(2)


def is_proven(name: str, wanted: str, *, clock: Callable[[], float] = time.monotonic) -> bool:
    """True when ``name``, or a parent with two labels or more, has a TXT record that is ``wanted``.

    Takes WALK_SECONDS at most. Raises ApiError: busy.
    """
    if not _walking.acquire(blocking=False):
        raise ApiError(Code.BUSY, "other domains are being looked up", "ask again")
    try:
        deadline = clock() + WALK_SECONDS
        for candidate in candidates(name):
            left = deadline - clock()
            if left <= 0:
                return False
            if wanted.encode() in txt_records(candidate, left):
                return True
        return False
    finally:
        _walking.release()


def candidates(name: str) -> list[str]:
    """The name and the names above it that may prove it, the nearest first."""
    labels = name.removeprefix(".").split(".")
    # From the top, so that a name of a hundred labels costs no hundred questions.
    return [".".join(labels[i:]) for i in range(len(labels) - 1)][-MAXIMUM_PARENTS:]


def txt_records(name: str, seconds: float) -> set[bytes]:
    """The TXT records of one name, each whole; none where the DNS does not answer."""
    import dns.exception

    deadline = time.monotonic() + seconds
    choices = settings.CHOICES
    try:
        if choices.resolver:
            return _ask(name, choices.resolver, choices.resolver_port, deadline)
        servers = _name_servers(name, deadline)
    except (dns.exception.DNSException, OSError):
        return set()
    for address in servers:
        try:
            return _ask(name, address, 53, deadline)
        except (dns.exception.DNSException, OSError):
            continue
    return set()


def _ask(name: str, address: str, port: int, deadline: float) -> set[bytes]:
    """Ask one server. Raises DNSException or OSError."""
    import dns.flags
    import dns.message
    import dns.name
    import dns.query
    import dns.rdatatype

    question = dns.message.make_query(name, dns.rdatatype.TXT)
    seconds = _left(deadline)
    answer, _ = dns.query.udp_with_fallback(question, address, timeout=seconds, port=port)
    wanted = dns.name.from_text(name)
    return {
        b"".join(record.strings)
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.TXT and rrset.name == wanted
        for record in rrset
    }


def _name_servers(name: str, deadline: float) -> list[str]:
    """The addresses of the zone's name servers that the outside may ask, a few of them."""
    import dns.resolver

    resolver = dns.resolver.Resolver()
    zone = dns.resolver.zone_for_name(name, resolver=resolver, lifetime=_left(deadline))
    found: list[str] = []
    for server in resolver.resolve(zone, "NS", lifetime=_left(deadline)):
        if len(found) < MAXIMUM_SERVERS:
            found += _public_addresses(resolver, str(server.target), deadline)
    return found[:MAXIMUM_SERVERS]


def _public_addresses(resolver: "dns.resolver.Resolver", server: str, deadline: float) -> list[str]:
    import dns.exception

    try:
        records = resolver.resolve(server, "A", lifetime=_left(deadline))
    except dns.exception.DNSException:
        return []
    return [str(item) for item in records if is_public(str(item))]


def is_public(address: str) -> bool:
    """True for an address of the internet; multicast and what is reserved are none."""
    found = ipaddress.ip_address(address)
    return found.is_global and not found.is_multicast


def _left(deadline: float) -> float:
    """The seconds of one question. Raises TimeoutError when there is none left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(QUESTION_SECONDS, left)
