"""A forged announcement is a true one but for what is forged: the gate's own code reads it."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from insula.dominator import packet
from insula.dominator.keys import KeyRing
from insula.emperor.isolation.attacks import announcing, signing
from insula.emperor.isolation.attacks.announcing import Announcement, framed, items


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def ring(key: rsa.RSAPrivateKey) -> KeyRing:
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyRing({1: public.decode()})


def pem(key: rsa.RSAPrivateKey, form: serialization.PrivateFormat) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


@pytest.mark.parametrize(
    "form",
    [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL],
    ids=["pkcs8", "pkcs1"],
)
def test_the_gate_takes_a_signature_of_ours(
    key: rsa.RSAPrivateKey, form: serialization.PrivateFormat
) -> None:
    made = signing.sign(pem(key, form), b"words")
    assert ring(key).verifies(1, signed=b"words", signature=made)
    assert not ring(key).verifies(1, signed=b"other words", signature=made)


def test_the_gate_reads_a_packet_of_ours(
    key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "signing.pem"
    place.write_text(pem(key, serialization.PrivateFormat.PKCS8))
    monkeypatch.setattr(announcing, "KEY", str(place))
    # packet and body are made one after the other: the second between them must not end
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    wanted = Announcement("a.example.org", "/run/sockets/a.sock", "/run/sockets/n.sock")
    found = packet.parse(wanted.packet())
    assert (found.key, found.address, found.notify, found.leave) == (
        "a.example.org", "/run/sockets/a.sock", "/run/sockets/n.sock", False,
    )  # fmt: skip
    assert found.signed == wanted.body()
    assert ring(key).verifies(1, signed=found.signed, signature=found.signature)


def test_a_leave_is_dated_one_second_ahead() -> None:
    stays, goes = (Announcement("a.example.org", "x", leave=leave) for leave in (False, True))
    one = packet.parse(framed(stays.body()))
    two = packet.parse(framed(goes.body(), leave=True))
    assert two.leave
    assert two.unix - one.unix in (1, 2)


def test_what_is_said_twice_is_no_packet() -> None:
    body = Announcement("a.example.org", "x").body()
    with pytest.raises(packet.MalformedPacket):
        packet.parse(framed(items({"key": b"b.example.org"}) + body))
