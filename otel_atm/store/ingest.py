"""Ingest: segments into the tables of an open file, with what the roll-ups gain by them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otel_atm.store.once import take_in_once
from otel_atm.store.opening import statements

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class DamagedError(Exception):
    """Segments have lines that nobody wrote so.

    Attributes:
        lines: how many.
    """

    def __init__(self, lines: int) -> None:
        super().__init__(f"{lines} damaged")
        self.lines = lines


def ingest(
    connection: DuckDBPyConnection, segments: Sequence[Path], *, damaged: bool = False
) -> int:
    """Take segments in that were not taken in before, in one transaction.

    Args:
        connection: to the file.
        segments: sealed ones of a store, at least one.
        damaged: whether to take what is left of segments that are, and them again once mended.

    Returns:
        The number of rows that are new or corrected.

    Raises:
        duckdb.Error: the transaction is still open.
        DamagedError: the same.
    """
    take_in = partial(_take_in, damaged=damaged)
    return take_in_once(connection, "drained_segments", segments, take_in, again=damaged)


def _take_in(connection: DuckDBPyConnection, segments: Sequence[Path], *, damaged: bool) -> int:
    paths = [str(segment) for segment in segments]
    connection.execute("set variable segments = ?::varchar[]", [paths])
    _run(connection, "read_segments.sql")
    (lines,) = _run(connection, "count_damaged.sql")
    if lines and not damaged:
        raise DamagedError(lines)
    if any(_run(connection, "find_repeats.sql")):
        _run(connection, "replace_repeats.sql")
    (rows,) = _run(connection, "insert_events.sql")
    _run(connection, "roll_up.sql")
    merge_added(connection)
    return rows


def merge_added(connection: DuckDBPyConnection) -> None:
    """Merge rows of ``added_1m`` and ``added_1h`` into the roll-ups, each of a key of its own."""
    for unit in ("1m", "1h"):
        for statement in statements("merge.sql"):
            connection.execute(statement.replace("_1m", f"_{unit}"))


def _run(connection: DuckDBPyConnection, name: str) -> tuple[int, ...]:
    """The row that the last statement of a file gives: an INSERT, how many rows it wrote."""
    for statement in statements(name):
        connection.execute(statement)
    return connection.fetchone() or ()
