"""Tables for a terminal: rows in, aligned lines out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final
from unicodedata import combining, east_asian_width

#: What a table shows. Integers get thousands separators, floats are money; None is a dash.
Cell = str | int | float | None

_GAP: Final = "  "
_NARROWEST: Final = 6


def table(
    titles: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    footer: Sequence[Cell] | None = None,
    width: int = 100,
) -> str:
    """Draw a table: titles, a rule, the rows, and below another rule the footer.

    Columns of numbers stand on the right. When it does not fit, the widest columns of text give
    way, down to 6 columns each, and what is cut ends in "…".

    Args:
        titles: one for each column.
        rows: as many cells each.
        footer: the cells of the last line; None for no such line.
        width: of the terminal, in columns.

    >>> print(table(["user", "tokens"], [["ann", 1200], ["ben", None]]))
    user  tokens
    ────────────
    ann    1,200
    ben        –
    """
    body = [list(row) for row in rows]
    every = body + ([list(footer)] if footer is not None else [])
    numeric = [any(isinstance(row[at], int | float) for row in every) for at in range(len(titles))]
    texts = [[_text(cell) for cell in row] for row in (titles, *every)]
    widths = _fit(
        [max(columns_of(line[at]) for line in texts) for at in range(len(titles))],
        [not number for number in numeric],
        width - len(_GAP) * (len(titles) - 1),
    )
    lines = [_line(line, widths, numeric) for line in texts]
    rule = "─" * (sum(widths) + len(_GAP) * (len(widths) - 1))
    lines.insert(1, rule)
    if footer is not None:
        lines.insert(-1, rule)
    return "\n".join(lines)


def without_repeats(rows: Iterable[Sequence[Cell]], columns: int) -> list[list[Cell]]:
    """Leave out of the first `columns` cells of a row what the row above says as well.

    >>> without_repeats([["ml", "ann", 1], ["ml", "ann", 2], ["ml", "ben", 1]], 2)
    [['ml', 'ann', 1], ['', '', 2], ['', 'ben', 1]]
    """
    short, above = [], list[Cell]()
    for row in rows:
        same = 0
        while same < min(columns, len(above)) and row[same] == above[same]:
            same += 1
        short.append([*[""] * same, *row[same:]])
        above = list(row)
    return short


def columns_of(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    return sum(2 if east_asian_width(char) in "WF" else not combining(char) for char in text)


def printable(text: str) -> str:
    """`text` with "·" for all that could move the cursor or change colours.

    Names come from outside: one with an escape sequence in it must not rewrite the terminal.
    """
    return "".join(char if char.isprintable() else "·" for char in text)


def money(amount: float) -> str:
    """USD to the hundredth of a cent; what is less, but not nothing, is said to be less.

    >>> money(1234.5), money(0.00002), money(0)
    ('1,234.5000', '<0.0001', '0.0000')
    """
    return "<0.0001" if 0 < amount < 0.0001 else f"{amount:,.4f}"


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return money(cell)
    return f"{cell:,}" if isinstance(cell, int) else printable(cell)


def _fit(wanted: list[int], may_shrink: list[bool], width: int) -> list[int]:
    widths = list(wanted)
    while sum(widths) > width:
        shrinkable = [at for at, may in enumerate(may_shrink) if may and widths[at] > _NARROWEST]
        if not shrinkable:
            break
        widest = max(shrinkable, key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _line(texts: list[str], widths: list[int], numeric: list[bool]) -> str:
    cells = []
    for text, width, number in zip_longest(texts, widths, numeric):
        cut = _cut(text, width)
        space = " " * (width - columns_of(cut))
        cells.append(space + cut if number else cut + space)
    return _GAP.join(cells).rstrip()


def _cut(text: str, width: int) -> str:
    if columns_of(text) <= width:
        return text
    while columns_of(text) > width - 1:
        text = text[:-1]
    return text + "…"
