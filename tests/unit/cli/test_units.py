"""Sizes and shares: what people write is read as they mean it, and written back the same."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as some

from insula.api.cli.units import Share, Size, size
from insula.vassals.spec import MAXIMUM_BYTES


def read_size(text: str) -> int:
    return Size().convert(text, None, None)


def read_share(text: str) -> int:
    return Share().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("512M", 512 << 20),
        ("512MB", 512 << 20),
        ("512MiB", 512 << 20),
        ("512 m", 512 << 20),
        ("10Gi", 10 << 30),
        ("1.5G", 3 << 29),
        ("2t", 2 << 40),
        ("4K", 4096),
        ("4096", 4096),
        ("4096B", 4096),
        (" 1G ", 1 << 30),
    ],
)
def test_a_size_is_read_in_powers_of_1024(text: str, number: int) -> None:
    assert read_size(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "M", "-1M", "1e3", "1,5G", "1P", "0x10", "nan", "inf", "٤G", "5i", "1 G B", "1G\n2G"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a size; write 512M or 2G"):
        read_size(text)


@pytest.mark.parametrize("text", ["31M", "0", "1025T", "9" * 400])
def test_a_size_outside_the_bounds_is_refused_with_them(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not between 32M and 1024T"):
        Size(32 << 20).convert(text, None, None)


@given(some.integers(0, MAXIMUM_BYTES))
def test_a_size_is_written_back_within_a_thousandth(number: int) -> None:
    assert abs(read_size(size(number)) - number) <= number / 1000


@given(some.integers(1, 999), some.sampled_from("KMGT"))
def test_a_whole_size_comes_back_exactly(number: int, unit: str) -> None:
    assert size(read_size(f"{number}{unit}")) == f"{number}{unit}"


@given(some.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    try:
        assert 0 <= read_size(text) <= MAXIMUM_BYTES
    except click.BadParameter:
        pass


@pytest.mark.parametrize(
    ("text", "percent"),
    [("50%", 50), ("0.5", 50), ("1", 100), ("1.5", 150), ("150%", 150), ("2", 200), (" 1% ", 1)],
)
def test_a_share_is_per_cent_of_one_core(text: str, percent: int) -> None:
    assert read_share(text) == percent


@pytest.mark.parametrize("text", ["", "%", "0", "0%", "0.001", "-1", "nan", "inf", "1e9%", "half"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a share of a core; write 50% or 0.5"):
        read_share(text)


def test_fifty_without_a_sign_is_asked_back() -> None:
    with pytest.raises(click.BadParameter, match="would be 50 cores; write 50% or 5000%"):
        read_share("50")


@given(some.integers(1, 100_000))
def test_a_share_comes_back_exactly(percent: int) -> None:
    assert read_share(f"{percent}%") == percent


@given(some.text(max_size=8))
def test_any_text_is_a_share_or_a_usage_error(text: str) -> None:
    try:
        assert 1 <= read_share(text) <= 100_000
    except click.BadParameter:
        pass
