"""Reads an app's announcement and writes the packet that a router gets."""

from collections.abc import Mapping
from dataclasses import dataclass

LIMIT_BYTES = 4096  # uWSGI's routers cut silently at this size (plugins/corerouter/cr_common.c)
_MODIFIER = 224
_KNOWN = (
    "key", "address", "modifier1", "modifier2", "cores", "load", "weight", "notify", "unix", "sign",
    "sni_key", "sni_crt", "sni_ca",
)  # fmt: skip


class MalformedPacket(ValueError):
    """The bytes are not one whole announcement."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One announcement; ``signed`` are the bytes below the signature."""

    leave: bool
    key: str
    address: str
    notify: str
    unix: int
    modifier1: int
    modifier2: int
    cores: int
    load: int
    weight: int
    signed: bytes
    signature: bytes


def parse(data: bytes) -> Packet:
    """Read one datagram. Raises MalformedPacket for anything but a whole, unambiguous packet."""
    if not 4 <= len(data) <= LIMIT_BYTES:
        raise MalformedPacket("size")
    if data[0] != _MODIFIER or data[3] not in (0, 1):
        raise MalformedPacket("header")
    if int.from_bytes(data[1:3], "little") != len(data) - 4:
        raise MalformedPacket("length")
    values, base = _read_pairs(data)
    if "key" not in values or "address" not in values:
        raise MalformedPacket("key or address is missing")
    return Packet(
        leave=data[3] == 1,
        key=_text(values, "key"),
        address=_text(values, "address"),
        notify=_text(values, "notify"),
        unix=_number(values, "unix", 0, 1 << 40, default=0),
        modifier1=_number(values, "modifier1", 0, 255, default=0),
        modifier2=_number(values, "modifier2", 0, 255, default=0),
        cores=min(_number(values, "cores", 0, 1 << 40, default=1), 65535),
        load=min(_number(values, "load", 0, 1 << 40, default=0), 65535),
        weight=min(max(_number(values, "weight", 0, 1 << 40, default=1), 1), 256),
        signed=base,
        signature=values.get("sign", b""),
    )


def _read_pairs(data: bytes) -> tuple[dict[str, bytes], bytes]:
    values: dict[str, bytes] = {}
    base = data[4:]
    place = 4
    while place < len(data):
        start = place
        name_bytes, place = _read_item(data, place)
        value, place = _read_item(data, place)
        name = name_bytes.decode("ascii", "replace")
        # A key said twice could be checked as one value and routed as the other; what follows the
        # signature is not covered by it.
        if name not in _KNOWN or name in values or "sign" in values:
            raise MalformedPacket(f"key {name[:20]!r}")
        if name == "sign":
            base = data[4:start]
        values[name] = value
    return values, base


def _read_item(data: bytes, place: int) -> tuple[bytes, int]:
    end = place + 2 + int.from_bytes(data[place : place + 2], "little")
    if place + 2 > len(data) or end > len(data):
        raise MalformedPacket("cut")
    return data[place + 2 : end], end


def _text(values: Mapping[str, bytes], name: str) -> str:
    value = values.get(name, b"")
    if len(value) > 255 or any(not 0x21 <= byte <= 0x7E for byte in value):
        raise MalformedPacket(name)
    return value.decode("ascii")


def _number(values: Mapping[str, bytes], name: str, low: int, high: int, *, default: int) -> int:
    value = values.get(name)
    if value is None:
        return default
    if not value.isdigit() or len(value) > 12 or not low <= int(value) <= high:
        raise MalformedPacket(name)
    return int(value)


def build(values: Mapping[str, str | int], *, leave: bool = False) -> bytes:
    """An unsigned packet of these keys, in their order."""
    body = b""
    for name, value in values.items():
        text = str(value).encode("ascii")
        body += len(name).to_bytes(2, "little") + name.encode("ascii")
        body += len(text).to_bytes(2, "little") + text
    return bytes([_MODIFIER]) + len(body).to_bytes(2, "little") + bytes([int(leave)]) + body


def as_leave(packet: bytes) -> bytes:
    """The packet that takes back what ``packet`` announced."""
    return packet[:3] + b"\x01" + packet[4:]


def is_leave(packet: bytes) -> bool:
    """True when the packet takes something back."""
    return packet[3] == 1
