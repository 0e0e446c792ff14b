"""Relations: which tables of a store hold what, for all that works on whole tables."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Table(NamedTuple):
    """A table whose rows have a time.

    Attributes:
        name: in the file.
        time: its column of timestamps.
    """

    name: str
    time: str


EVENTS: Final = (Table("usage_events", "ts"),)
ROLLUPS: Final = (Table("usage_1m", "bucket"), Table("usage_1h", "bucket"))
#: Points of metrics, where an exporter has put any.
POINTS: Final = (Table("metric_points", "time"),)


def present(connection: DuckDBPyConnection, tables: Iterable[Table]) -> list[Table]:
    """Those that this file has."""
    found = connection.execute("select table_name from duckdb_tables()").fetchall()
    names = {name for (name,) in found}
    return [table for table in tables if table.name in names]


def kept_since(connection: DuckDBPyConnection, kind: str) -> datetime:
    """From when on retention has deleted nothing, naive and in UTC.

    Args:
        connection: to the file.
        kind: of rows, as ``atm_horizon`` calls it.
    """
    if not present(connection, [Table("atm_horizon", "since")]):
        return datetime.min
    ((since,),) = connection.execute(
        "select max(since) from atm_horizon where relation = ?", [kind]
    ).fetchall()
    return since or datetime.min
