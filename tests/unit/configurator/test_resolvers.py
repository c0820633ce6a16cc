"""Which resolvers a container gets."""

from pathlib import Path

import pytest

from insula.configurator.resolvers import resolv_conf


@pytest.mark.parametrize(
    ("host", "upstream", "wanted"),
    [
        ("nameserver 192.0.2.1\n", "", "nameserver 192.0.2.1\n"),
        ("nameserver 127.0.0.53\n", "nameserver 192.0.2.2\n", "nameserver 192.0.2.2\n"),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", "", "nameserver 192.0.2.1\n"),
        ("nameserver ::1\nsearch lan\n", "nameserver 127.0.0.1\n", ""),
        ("nameserver\nnonsense x\n", "", ""),
        ("# c\nsearch lan\nnameserver 192.0.2.1\n", "", "search lan\nnameserver 192.0.2.1\n"),
    ],
    ids=["plain", "resolved", "mixed", "none", "broken", "search"],
)
def test_a_container_gets_no_loopback_resolver(
    tmp_path: Path, host: str, upstream: str, wanted: str
) -> None:
    files = (tmp_path / "host", tmp_path / "upstream", tmp_path / "missing")
    files[0].write_text(host)
    files[1].write_text(upstream)
    assert resolv_conf(files) == wanted
