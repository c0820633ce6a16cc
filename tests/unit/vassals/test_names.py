"""Names have one form before they reach a file, a path or a packet."""

import pytest

from insula.vassals import names
from insula.vassals.errors import InvalidValue


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Shop.Example.ORG", "shop.example.org"),
        ("shop.example.org.", "shop.example.org"),
        (".example.org", ".example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_domain_has_one_stored_form(text: str, name: str) -> None:
    assert names.domain(text, path="name") == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "org", "..example.org", "a..b", "-a.org", "a-.org", "a b.org", "a.org:80", "a.org/x"]
    + ["10.0.0.3", "a_b.org", "*.example.org", "a\n.org", "ü.org", ("a" * 64) + ".org", "a." * 127],
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="name"):
        names.domain(text, path="name")


def test_a_wildcard_covers_what_lies_below_it_and_not_itself_bare() -> None:
    assert names.covers(".example.org", "a.example.org")
    assert names.covers(".example.org", "a.b.example.org")
    assert names.covers(".example.org", ".b.example.org")
    assert not names.covers(".example.org", "example.org")
    assert not names.covers(".example.org", "badexample.org")
    assert not names.covers("example.org", "a.example.org")


def test_wildcards_come_most_specific_first() -> None:
    assert names.wildcards_above("a.b.example.org") == [".b.example.org", ".example.org", ".org"]
