"""One number names a container."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from insula.vassals import identity
from insula.vassals.errors import InvalidValue


def test_the_first_container_is_30001_at_10_0_0_3() -> None:
    assert identity.uid_of(1) == 30001
    assert identity.address_of(30001, identity.DEFAULT_NETWORK) == IPv4Address("10.0.0.3")


def test_the_gateway_is_the_networks_first_address() -> None:
    assert identity.gateway_of(IPv4Network("10.77.0.0/16")) == IPv4Address("10.77.0.1")


@pytest.mark.parametrize(
    "text", ["30001/.", "030001", " 30001", "29999", "60000", "", "٣٠٠٠١", "3000"]
)
def test_a_uid_is_read_strictly(text: str) -> None:
    with pytest.raises(InvalidValue):
        identity.parse_uid(text)


@pytest.mark.parametrize("container_id", [-1, 30000])
def test_uids_end_where_debians_range_ends(container_id: int) -> None:
    with pytest.raises(InvalidValue):
        identity.uid_of(container_id)


def test_a_small_network_says_that_it_is_full() -> None:
    with pytest.raises(InvalidValue, match="no address"):
        identity.address_of(30254, IPv4Network("10.9.9.0/24"))
