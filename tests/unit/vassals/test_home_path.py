"""What may name a file or a directory below a home."""

import pytest

from insula.vassals import names
from insula.vassals.errors import InvalidValue


@pytest.mark.parametrize("text", ["a", "a.img", "data/box-1.img", "x_y/etc", "a" * 255])
def test_plain_paths_are_taken(text: str) -> None:
    assert names.home_path(text, path="p", length=255) == text


@pytest.mark.parametrize(
    "text",
    ["", "/", "a/", "/a", "..", "a/..", "a..b", "./a", "a/.", "a//b", ".a", "-a", "a b", "a\n",
     "etc", "etc/x", "vassals/x.ini", "a%b", "a" * 256],
)  # fmt: skip
def test_others_are_not(text: str) -> None:
    with pytest.raises(InvalidValue, match="^p: "):
        names.home_path(text, path="p", length=255)
