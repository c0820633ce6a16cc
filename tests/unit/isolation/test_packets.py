"""Packets and netlink messages as bytes."""

import errno
import struct

import pytest

from insula.emperor.isolation.attacks import packets


def test_the_checksum_is_that_of_rfc_1071s_example() -> None:
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


@pytest.mark.parametrize("payload", [b"", b"odd", b"even"])
def test_a_checked_echo_request_sums_up_to_nothing(payload: bytes) -> None:
    # The receiver adds all up, the sum itself too.
    assert packets.checksum(packets.echo_request(packets.ECHO, payload)) == 0


def test_a_udp_packet_says_its_lengths_and_addresses() -> None:
    found = packets.udp_packet("10.0.0.2", "10.0.0.9", 7421, b"hello")
    assert len(found) == 20 + 8 + 5
    assert found[12:20] == bytes((10, 0, 0, 2, 10, 0, 0, 9))
    assert struct.unpack_from("!HHH", found, 20) == (7421, 7421, 8 + 5)
    assert found.endswith(b"hello")


@pytest.mark.parametrize("value", [b"", b"abc", b"abcd", b"abcde"])
def test_an_attribute_is_filled_up_to_four_bytes(value: bytes) -> None:
    found = packets.attribute(7, value)
    assert len(found) % 4 == 0
    assert struct.unpack_from("=HH", found) == (4 + len(value), 7)
    assert found[4:].rstrip(b"\0") == value


def test_an_error_of_netlink_is_found_and_ends_a_list() -> None:
    refused = struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -errno.EPERM) + bytes(16)
    assert packets._error_in(refused) == errno.EPERM
    assert packets._ends(refused)


def test_a_list_ends_with_its_done_message_alone() -> None:
    entry = struct.pack("=IHHII", 20, 16, 2, 1, 0) + b"abcd"
    done = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
    assert packets._error_in(entry) == 0
    assert not packets._ends(entry + entry)
    assert packets._ends(entry + done)
