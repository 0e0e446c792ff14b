"""Tables are aligned, fit the terminal, and nothing in them can command it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_atm.charts.table import Cell, columns_of, printable, table, without_repeats


def test_numbers_stand_on_the_right_with_separators_and_a_footer_below() -> None:
    drawn = table(
        ["user", "model", "tokens"],
        [["ann", "gpt-5", 1234567], ["benedict", None, 8]],
        footer=["all", "", 1234575],
    )
    assert drawn == "\n".join(
        [
            "user      model     tokens",
            "──────────────────────────",
            "ann       gpt-5  1,234,567",
            "benedict  –              8",
            "──────────────────────────",
            "all              1,234,575",
        ]
    )


def test_a_table_without_rows_is_its_titles() -> None:
    assert table(["user", "tokens"], []) == "user  tokens\n────────────"


def test_the_widest_text_gives_way() -> None:
    drawn = table(["budget", "user", "n"], [["a budget with a long name", "ann", 5]], width=24)
    assert drawn == "\n".join(
        [
            "budget           user  n",
            "────────────────────────",
            "a budget with …  ann   5",
        ]
    )


def test_wide_characters_take_two_columns() -> None:
    assert (columns_of("日本"), columns_of("e\u0301"), columns_of("ann")) == (4, 1, 3)
    assert table(["u", "n"], [["日本", 1], ["ann", 2]]).splitlines()[2:] == ["日本  1", "ann   2"]


def test_a_name_cannot_command_the_terminal() -> None:
    assert printable("\x1b[31mann\r\n\u202e") == "·[31mann···"
    assert "\x1b" not in table(["user"], [["\x1b]0;owned\x07"]])


def test_what_repeats_is_left_out_from_the_left_only() -> None:
    rows = [["ml", "ann", "a"], ["ml", "ann", "a"], ["ops", "ann", "a"], ["ops", "ben", "a"]]
    assert without_repeats(rows, 2) == [
        ["ml", "ann", "a"],
        ["", "", "a"],
        ["ops", "ann", "a"],
        ["", "ben", "a"],
    ]


def test_money_is_shown_to_the_hundredth_of_a_cent() -> None:
    drawn = table(["user", "USD"], [["ann", 1234.5], ["ben", 0.00001], ["cid", 0.0], ["dan", None]])
    assert drawn.splitlines()[2:] == [
        "ann   1,234.5000",
        "ben      <0.0001",
        "cid       0.0000",
        "dan            –",
    ]


CELLS = st.one_of(st.none(), st.integers(0, 10**9), st.floats(0, 10**6), st.text(max_size=40))


@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60), st.integers(0, 10**6))))
def test_every_line_fits(rows: list[tuple[str, str, int]]) -> None:
    for line in table(["one", "two", "n"], rows, width=40).split("\n"):
        assert columns_of(line) <= 40


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_every_row_is_one_line(rows: list[tuple[Cell, Cell]]) -> None:
    assert len(table(["one", "two"], rows).split("\n")) == 2 + len(rows)
