"""node.toml and what follows from it: read strictly, written so that it comes back the same."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insula.emperor.errors import SettingsError
from insula.emperor.settings import Node, NodeSettings, Paths, load

PATH = Path("/etc/insula/node.toml")


def read(text: str) -> NodeSettings:
    return NodeSettings.from_toml(text, path=PATH)


@given(
    some.lists(some.integers(1, 65535), min_size=3, max_size=3, unique=True),
    some.integers(0, 255),
    some.sampled_from(["btrfs", "dir"]),
)
def test_what_is_written_is_read_back(ports: list[int], block: int, storage: Any) -> None:
    http, https, ssh = ports
    settings = NodeSettings(
        network=f"10.{block}.0.0/16", http_port=http, https_port=https, ssh_port=ssh,
        storage=storage,
    )  # fmt: skip
    assert read(settings.to_toml()) == settings


def test_an_empty_file_gives_the_defaults() -> None:
    assert read("") == NodeSettings()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("http-port = 80", "http-port is not a setting"),
        ('http_port = "80"', "http_port should be int"),
        ("http_port = true", "http_port should be int"),
        ("http_port = 0", "http_port should be from 1 to 65535"),
        ("ssh_port = 65536", "ssh_port should be from 1 to 65535"),
        ("ssh_port = 443", "http, https and ssh need three different ports"),
        ('network = "10.0.0.1/8"', "network: 10.0.0.1/8 has host bits set"),
        ('network = "10.0.0.0/25"', "should be a /24 or larger"),
        ('network = "::/64"', "network: Expected 4 octets"),
        ('base_domain = ".example.org"', "is a wildcard"),
        ('base_domain = "localhost"', "is not a domain"),
        ('base_domain = "a b.org"', "is not a domain"),
        ('storage = "zfs"', "storage should be btrfs or dir"),
        ('default_distro = "../x"', "default_distro is not a distro's name"),
        ("http_port =", "node.toml: "),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(line: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(line)
    assert caught.value.message.startswith(f"{PATH}: ")
    assert says in caught.value.message


def test_where_no_node_is_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no node below") as caught:
        load(tmp_path)
    assert caught.value.hint == "run bin/up first, or give --root DIR"


def test_the_node_at_the_root_has_plain_names() -> None:
    node = Node(Paths(Path("/")), NodeSettings())
    assert (node.link_prefix, node.nft_table, node.cgroup_name) == ("ins-", "insula", "insula")


def test_two_nodes_share_no_name_in_the_kernel() -> None:
    one, two = (Node(Paths(Path(root)), NodeSettings()) for root in ("/srv/one", "/srv/two"))
    assert {one.link_prefix, one.nft_table, one.cgroup_name}.isdisjoint(
        {two.link_prefix, two.nft_table, two.cgroup_name}
    )


def test_a_link_name_fits_the_kernels_fifteen_characters() -> None:
    assert len(Node(Paths(Path("/srv/one")), NodeSettings()).link_prefix + "59999") <= 15


def test_every_path_lies_below_the_root() -> None:
    paths = Paths(Path("/srv/one"))
    plain = [name for name, item in vars(Paths).items() if isinstance(item, property)]
    found = [getattr(paths, name) for name in plain]
    assert len(found) > 20
    assert [str(path) for path in found if not path.is_relative_to("/srv/one")] == []
