"""The machine's package sources: its own release, updates and security, nobody else's."""

from pathlib import Path

import pytest

from insula.emperor import aptsources
from insula.vassals.errors import InvalidValue

DEBIAN = """\
Types: deb
# a comment between
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/vendor
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg
"""
SIGNED = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"


def apt(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(text)
    return tmp_path


def test_stanzas_give_the_release_and_its_updates_only(tmp_path: Path) -> None:
    directory = apt(tmp_path, "sources.list.d/debian.sources", DEBIAN)
    assert aptsources.host_sources("bookworm", directory) == (
        f"deb {SIGNED} http://mirror.test/debian bookworm main",
        f"deb {SIGNED} http://mirror.test/debian bookworm-updates main",
    )


def test_one_line_sources_are_read_with_their_options(tmp_path: Path) -> None:
    text = (
        "# deb http://off.test noble main\n"
        "deb [arch=amd64] http://mirror.test/ubuntu noble main universe restricted\n"
        "deb-src http://mirror.test/ubuntu noble main\n"
        "deb [signed-by=/etc/apt/keyrings/x.gpg] http://x.test noble stable\n"
        "deb http://mirror.test/ubuntu noble-security universe # why\n"
    )
    directory = apt(tmp_path, "sources.list", text)
    assert aptsources.host_sources("noble", directory) == (
        "deb http://mirror.test/ubuntu noble main universe",
        "deb http://mirror.test/ubuntu noble-security universe",
    )


def test_only_settings_for_reaching_mirrors_are_taken_over() -> None:
    dump = (
        "APT::Architecture amd64\n"
        "Acquire::http::Proxy http://proxy.test:3128\n"
        'Acquire::https::Proxy a"b\n'
        "Acquire::https::CaInfo /etc/ssl/ca.crt\n"
        "Acquire::http \n"
    )
    assert aptsources.network_settings(dump) == [
        'Acquire::http::Proxy "http://proxy.test:3128"',
        'Acquire::https::CaInfo "/etc/ssl/ca.crt"',
    ]


@pytest.mark.parametrize("mirror", ["http://a b", "rsync://x", "", "http://x\ndeb y"])
def test_a_mirror_that_is_no_address_is_refused(mirror: str) -> None:
    with pytest.raises(InvalidValue):
        aptsources.line_of(mirror, "bookworm")
