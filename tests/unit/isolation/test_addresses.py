"""The machine's own addresses, as the kernel's routing table lists them."""

from pathlib import Path

from insula.emperor.isolation import arena

TABLE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 10.0.0.2
        /32 link UNICAST
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.2
        /32 link UNICAST
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
Local:
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 10.0.0.1
        /32 host LOCAL
"""


def test_local_addresses_but_for_loopback(tmp_path: Path) -> None:
    path = tmp_path / "fib_trie"
    path.write_text(TABLE)
    assert arena._addresses(path) == ("192.0.2.2", "10.0.0.1")
