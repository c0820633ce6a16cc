"""The firewall's text."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from insula.emperor.kernel import firewall

GOLDEN = Path(__file__).parents[2] / "golden/firewall.nft"


def test_the_table_is_the_golden_one() -> None:
    text = firewall.ruleset(
        table="insula",
        prefix="ins-",
        network=IPv4Network("10.0.0.0/8"),
        gateway=IPv4Address("10.0.0.1"),
    )
    assert text == GOLDEN.read_text()
