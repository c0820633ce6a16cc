"""RSA signatures (PKCS#1 v1.5, SHA-256) without openssl, which a distro may lack."""

import base64
from hashlib import sha256

_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
_SEQUENCE, _OCTETS = 0x30, 0x04


def sign(pem: str, data: bytes) -> bytes:
    """The signature of ``data`` with the private key of a PEM file (PKCS#8 or PKCS#1)."""
    modulus, exponent = _numbers(pem)
    length = (modulus.bit_length() + 7) // 8
    told = _SHA256 + sha256(data).digest()
    padded = b"\x00\x01" + b"\xff" * (length - len(told) - 3) + b"\x00" + told
    return pow(int.from_bytes(padded, "big"), exponent, modulus).to_bytes(length, "big")


def _numbers(pem: str) -> tuple[int, int]:
    """Modulus and private exponent."""
    lines = [line for line in pem.splitlines() if line and not line.startswith("-----")]
    parts = _parts(base64.b64decode("".join(lines)))
    inner = _parts(parts[0][1])
    if inner[1][0] == _SEQUENCE:
        # PKCS#8: version, algorithm, and the key itself in octets
        octets = next(content for tag, content in inner if tag == _OCTETS)
        inner = _parts(_parts(octets)[0][1])
    return int.from_bytes(inner[1][1], "big"), int.from_bytes(inner[3][1], "big")


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """The elements of DER, one after the other, as (tag, content)."""
    found, place = [], 0
    while place < len(data):
        tag, length, place = data[place], data[place + 1], place + 2
        if length & 0x80:
            count = length & 0x7F
            length, place = int.from_bytes(data[place : place + count], "big"), place + count
        found.append((tag, data[place : place + length]))
        place += length
    return found
