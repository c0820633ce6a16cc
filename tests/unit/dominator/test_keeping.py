"""What the next gate finds of the last one's files."""

from pathlib import Path

import pytest

from insula.dominator.keeping import Keeping


def test_a_fresh_directory_says_that_nothing_was_kept(tmp_path: Path) -> None:
    found = Keeping(tmp_path)
    assert (found.table(), found.journal(), found.accepted()) == (b"[]", b"", None)


def test_the_next_gate_finds_all_that_was_kept(tmp_path: Path) -> None:
    first = Keeping(tmp_path)
    first.begin()
    assert Keeping(tmp_path).accepted() == b""
    first.keep(b"a\n")
    first.keep(b"b\n")
    first.remember(b"1")
    first.forget_accepted()
    first.remember(b"2")
    second = Keeping(tmp_path)
    assert (second.journal(), second.accepted()) == (b"a\nb\n", b"12")
    first.forget_accepted()
    assert second.accepted() == b"2"
    first.save_table(b"[1]")
    first.clear_journal()
    assert (second.table(), second.journal()) == (b"[1]", b"")


def test_records_of_which_one_could_not_be_kept_are_trusted_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Keeping(tmp_path)
    found.begin()
    found.remember(b"1")
    monkeypatch.setattr("insula.dominator.keeping.os.write", lambda *_: 0)
    with pytest.raises(OSError, match="full"):
        found.remember(b"2")
    assert Keeping(tmp_path).accepted() is None


def test_records_after_a_missing_one_are_kept_once_that_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next gate would take them for all, and accept the missing one again."""
    found = Keeping(tmp_path)
    found.begin()
    with monkeypatch.context() as full:
        full.setattr("insula.dominator.keeping.os.write", lambda *_: 0)
        with pytest.raises(OSError, match="full"):
            found.remember(b"1")
    found.remember(b"2")
    assert Keeping(tmp_path).accepted() is None
    # What came before the first of these may have come just before it.
    found.forget_accepted()
    found.remember(b"3")
    assert Keeping(tmp_path).accepted() is None
    found.forget_accepted()
    found.remember(b"4")
    assert Keeping(tmp_path).accepted() == b"4"
    found.forget_accepted()
    found.remember(b"5")
    assert Keeping(tmp_path).accepted() == b"45"


def test_what_lies_ahead_is_kept_until_it_is_past(tmp_path: Path) -> None:
    found = Keeping(tmp_path)
    found.begin()
    found.remember(b"old")
    for _ in range(3):
        found.forget_accepted((b"ahead",))
    assert Keeping(tmp_path).accepted() == b"aheadahead"
    found.forget_accepted()
    found.forget_accepted()
    assert Keeping(tmp_path).accepted() == b""
