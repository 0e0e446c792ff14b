"""Ingest: segments into the tables of an open file, in one transaction.

Either all of it is in the file after it, the rows, the roll-ups and the names of the segments, or
nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otel_atm.store.opening import statements

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def ingest(connection: DuckDBPyConnection, segments: Sequence[Path], present: list[str]) -> int:
    """Take segments in that were not taken in before.

    Args:
        connection: to the file.
        segments: sealed ones.
        present: names of all segments that there are: a name is kept as long as its file is there,
            whichever batch it comes in; see docs, "Models".

    Returns:
        The number of rows that are new or corrected.

    Raises:
        duckdb.Error: the transaction is still open.
    """
    connection.begin()
    connection.execute("delete from drained_segments where not list_contains(?, name)", [present])
    done = {name for (name,) in connection.execute("from drained_segments").fetchall()}
    fresh = [segment for segment in segments if segment.name not in done]
    rows = _take_in(connection, fresh) if fresh else 0
    connection.commit()
    return rows


def _take_in(connection: DuckDBPyConnection, segments: list[Path]) -> int:
    paths = [str(segment) for segment in segments]
    connection.execute("set variable segments = ?::varchar[]", [paths])
    _run(connection, "read_segments.sql")
    if any(_run(connection, "find_repeats.sql")):
        _run(connection, "replace_repeats.sql")
    (rows,) = _run(connection, "insert_events.sql")
    _run(connection, "roll_up.sql")
    connection.execute(
        "insert into drained_segments select unnest(?::varchar[])",
        [[segment.name for segment in segments]],
    )
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
