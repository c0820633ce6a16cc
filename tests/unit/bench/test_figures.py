"""The benches' statistics and tables: what is printed is what was measured, and gaps are named."""

import json

import pytest

from bench.figures import Board, Spread, as_markdown, as_text, placed, short


def _board() -> Board:
    board = Board("ours")
    for value in (4.0, 1.0, 2.0, 3.0, 5.0):
        board.add("start, ms", "ours", value)
        board.add("start, ms", "theirs", value * 2)
    board.add("memory, MB", "ours", 1.5)
    board.cannot("memory, MB", "theirs", "no systemd here")
    board.cannot("stop, ms", "theirs", "no systemd here")
    return board


def test_a_spread_is_ordered_and_complete() -> None:
    spread = Spread.of([4.0, 1.0, 2.0, 3.0, 5.0])
    assert spread == Spread(5, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert str(spread) == "3.00 (2.00 to 4.00)"


def test_one_value_has_no_spread_to_print() -> None:
    assert str(Spread.of([7.25])) == "7.25"


def test_no_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


def test_ratios_are_against_the_baselines_median() -> None:
    board = _board()
    assert board.ratio("start, ms", "theirs") == 2.0
    assert board.ratio("start, ms", "ours") == 1.0
    assert board.ratio("memory, MB", "theirs") is None


def test_a_noisy_machines_negative_memory_gives_no_ratio() -> None:
    board = _board()
    board.add("memory, MB", "third", -3.0)
    assert board.ratio("memory, MB", "third") is None
    assert board.cell("memory, MB", "third") == "-3.00"


def test_a_table_has_a_line_for_each_figure_and_shows_gaps() -> None:
    assert _board().rows() == [
        ["", "ours", "theirs"],
        ["start, ms", "3.00 (2.00 to 4.00)", "6.00 (4.00 to 8.00), ×2.00"],
        ["memory, MB", "1.50", "no: see below"],
        ["stop, ms", "-", "no: see below"],
    ]


def test_a_reason_is_told_once_with_all_its_figures() -> None:
    assert _board().missing() == ["theirs: no systemd here (memory, MB; stop, ms)"]


def test_markdown_and_text_hold_the_same_cells() -> None:
    rows = [["", "a"], ["x", "1"]]
    assert as_markdown(rows) == "|  | a |\n| --- | --- |\n| x | 1 |"
    assert as_text(rows) == "   a\nx  1"


def test_tables_take_the_place_of_older_ones_and_leave_the_page_alone() -> None:
    page = "# Title\n<!-- tables -->\nold\n<!-- /tables -->\nend\n"
    new = placed(page, "| new |\n")
    assert new == "# Title\n<!-- tables -->\n| new |\n<!-- /tables -->\nend\n"
    assert placed(new, "| new |\n") == new
    assert placed("", "| new |\n") == "| new |\n"


def test_json_keeps_every_value_and_every_reason() -> None:
    told = json.loads(json.dumps(_board().as_json()))["figures"]
    assert told["start, ms"]["theirs"]["values"] == [8.0, 2.0, 4.0, 6.0, 10.0]
    assert told["start, ms"]["theirs"]["ratio"] == 2.0
    assert told["memory, MB"]["theirs"] == {"reason": "no systemd here"}
    assert told["stop, ms"]["ours"] == {"reason": "not measured"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.126, "0.13"), (9.994, "9.99"), (42.25, "42.2"), (1234.4, "1234")],
)
def test_three_digits_matter(value: float, text: str) -> None:
    assert short(value) == text
