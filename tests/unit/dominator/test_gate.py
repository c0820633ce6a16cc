"""What the gate accepts and what it refuses, with the reason."""

import dataclasses
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from insula.dominator import packet
from insula.dominator.events import Clock, Heard
from insula.dominator.gate import Gate, Verdict, socket_name
from insula.dominator.ownership import Ownership
from insula.dominator.reasons import Reason
from insula.dominator.table import SILENT_SECONDS, Route, Table
from insula.vassals.spec import ContainerSpec, CustomerSpec, DesiredState, DomainSpec

NOW = 1_000_000
KEYS = {number: rsa.generate_private_key(65537, 2048) for number in (1, 2)}


def _pem(number: int) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return KEYS[number].public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def _container(uid: int, customer: int) -> ContainerSpec:
    return ContainerSpec(
        uid, customer, f"c{uid}", f"c{uid}", "d", 1, 1, 0.0, 2**29, 50, 2**30, 99, (), "", "running"
    )  # fmt: skip


STATE = DesiredState(
    "test",
    1,
    (_container(30001, 1), _container(30002, 2)),
    tuple(CustomerSpec(number, f"k{number}", _pem(number)) for number in KEYS),
    (
        DomainSpec("shop.example.org", 1, "attached"),
        DomainSpec(".wild.org", 1, "attached"),
        DomainSpec("exact.wild.org", 2, "attached"),
    ),
)


def _gate() -> Gate:
    return Gate(Ownership(STATE), IPv4Network("10.0.0.0/8"), "/run/insula/apps")


def _decide(
    gate: Gate, data: bytes, *, uid: int = 30001, sender: int = 30001, now: float = NOW
) -> Verdict:
    """What the gate says about a datagram; a.sock is the one socket there is."""
    try:
        parsed = packet.parse(data)
    except packet.MalformedPacket:
        return gate.decide(Heard(uid, sender, None, False), Clock(now, now))
    heard = Heard(uid, sender, parsed, socket_name(parsed) == "a.sock")
    return gate.decide(heard, Clock(now, now))


def _signed(
    key: str = "shop.example.org",
    address: str = "/run/sockets/a.sock",
    *,
    unix: int = NOW,
    signer: int = 1,
    leave: bool = False,
) -> bytes:
    plain = packet.build({"key": key, "address": address, "unix": unix}, leave=leave)
    sign = KEYS[signer].sign(plain[4:], padding.PKCS1v15(), hashes.SHA256())
    body = plain[4:] + b"\x04\x00sign" + len(sign).to_bytes(2, "little") + sign
    return b"\xe0" + len(body).to_bytes(2, "little") + plain[3:4] + body


def _reason(data: bytes, *, uid: int = 30001, sender: int = 30001) -> Reason | None:
    return _decide(_gate(), data, uid=uid, sender=sender).reason


def test_a_signed_announcement_becomes_a_route_to_the_host_path() -> None:
    verdict = _decide(_gate(), _signed())
    assert verdict.reason is None and verdict.route is not None
    assert verdict.route.address == "/run/insula/apps/30001/sockets/a.sock"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_signed("other.example.org"), Reason.UNATTACHED_DOMAIN),
        (_signed("exact.wild.org"), Reason.FOREIGN_DOMAIN),
        (_signed("mapped/shop.example.org"), Reason.INVALID_DOMAIN),
        (_signed(signer=2), Reason.BAD_SIGNATURE),
        (_signed(unix=NOW - 16), Reason.STALE),
        (_signed(unix=NOW + 3), Reason.FUTURE),
        (_signed(address="/run/sockets/../../30002/sockets/a.sock"), Reason.FOREIGN_ADDRESS),
        (_signed(address="/run/sockets/missing.sock"), Reason.FOREIGN_ADDRESS),
        (_signed(address="127.0.0.1:80"), Reason.FOREIGN_ADDRESS),
        (_signed(address="10.0.0.4:80"), Reason.FOREIGN_ADDRESS),
        (packet.build({"key": "shop.example.org", "address": "a"}), Reason.UNSIGNED),
        (b"garbage", Reason.MALFORMED),
    ],
)
def test_a_forged_announcement_is_refused_with_its_reason(data: bytes, reason: Reason) -> None:
    assert _reason(data) is reason


def test_the_kernels_word_about_the_sender_counts() -> None:
    assert _reason(_signed(), sender=30002) is Reason.WRONG_CREDENTIALS


def test_a_packet_cut_at_any_byte_is_malformed() -> None:
    whole = _signed()
    assert {_reason(whole[:end]) for end in range(len(whole))} == {Reason.MALFORMED}


def test_the_own_address_and_the_name_below_the_own_wildcard_are_accepted() -> None:
    assert _reason(_signed("x.wild.org", "10.0.0.3:8000")) is None


def test_an_app_that_left_comes_back_in_the_same_second_and_its_leave_works_once() -> None:
    gate = _gate()
    leave = _signed(unix=NOW + 1, leave=True)
    packets = [_signed(unix=NOW - 5), leave, _signed(unix=NOW), leave, _signed(unix=NOW - 5)]
    reasons = [_decide(gate, item).reason for item in packets]
    assert reasons == [None, None, None, Reason.REPLAYED, Reason.REPLAYED]


def test_what_is_older_than_a_gate_without_a_history_is_refused() -> None:
    gate = dataclasses.replace(_gate(), not_before=NOW - 0.5)
    assert _decide(gate, _signed(unix=NOW - 2)).reason is Reason.STALE
    assert _decide(gate, _signed(unix=NOW)).reason is None


def test_a_clock_that_goes_back_silences_no_app() -> None:
    gate = dataclasses.replace(_gate(), not_before=NOW - 0.5)
    assert _decide(gate, _signed()).reason is None
    before = NOW - 3600
    assert _decide(gate, _signed(unix=before), now=before).reason is None
    assert _decide(gate, _signed(unix=before), now=before).reason is Reason.REPLAYED
    assert _decide(gate, _signed(unix=before + 10), now=before + 10).reason is None
    assert _decide(gate, _signed(unix=NOW), now=NOW).reason is Reason.REPLAYED


def test_a_clock_that_goes_forward_and_back_opens_no_door_for_a_replay() -> None:
    gate = _gate()
    assert _decide(gate, _signed()).reason is None
    gate.history.forget(Clock(NOW + 3600, NOW + 1))
    assert _decide(gate, _signed(), now=NOW + 2).reason is Reason.REPLAYED


def test_the_next_gate_knows_what_was_accepted() -> None:
    first, second = _gate(), _gate()
    second.history.load(_decide(first, _signed()).record + b"cut", Clock(NOW, 0.0))
    assert _decide(second, _signed()).reason is Reason.REPLAYED
    assert _decide(second, _signed(unix=NOW - 1)).reason is Reason.REPLAYED
    assert _decide(second, _signed(unix=NOW + 1)).reason is None


def test_what_was_accepted_is_forgotten_when_it_can_not_come_again() -> None:
    gate = _gate()
    _decide(gate, _signed())
    gate.history.forget(Clock(NOW + 18, NOW + 18))
    assert len(gate.history) == 1
    gate.history.forget(Clock(NOW + 19, NOW + 19))
    assert len(gate.history) == 0


def test_a_table_comes_back_whole_and_silent_routes_are_found() -> None:
    table, copy = Table(), Table()
    table.put(Route("a.example.org", "/a", 30001, 1, "k"), now=0.0)
    copy.load(table.dump(), now=50.0)
    assert copy.routes == table.routes
    assert not copy.silent(now=50.0 + SILENT_SECONDS)
    assert copy.silent(now=50.1 + SILENT_SECONDS) == list(table.routes.values())


def test_every_reason_says_what_and_what_to_do() -> None:
    assert all(reason.sentence and reason.remedy for reason in Reason)


def test_the_page_of_refusals_lists_every_reason() -> None:
    page = (Path(__file__).parents[3] / "docs/refusals.md").read_text()
    missing = [
        reason.value
        for reason in Reason
        if f"| `{reason.value}` | {reason.sentence} | {reason.remedy} |" not in page
    ]
    assert not missing
