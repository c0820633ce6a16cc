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
