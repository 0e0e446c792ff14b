"""A fresh file for each demo, without ever deleting anybody else's."""

from __future__ import annotations

from typing import NoReturn

from otel_atm.demo.cast import APP
from otel_atm.errors import StoreError
from otel_atm.faces import connect
from otel_atm.store.drain import has_segments
from otel_atm.store.lock import locked
from otel_atm.store.opening import own_tables
from otel_atm.store.paths import StorePaths

_FOREIGN_ROWS = "select count(*) from usage_events where app is distinct from $app"
_FOREIGN_TABLES = """
select count(*) from duckdb_tables()
where database_name = current_database() and not list_contains($ours, table_name)
"""


def make_room(db: str) -> None:
    """Delete what an earlier demo left at `db`.

    Raises:
        StoreError: it holds, or somebody is writing, something else than the demo's rows.
    """
    paths = StorePaths.of(db)
    if not paths.database.exists() and not has_segments(paths):
        return
    _check(db)
    if has_segments(paths):
        _refuse(db, "another program is writing to it")
    with locked(paths.lock):
        paths.database.unlink(missing_ok=True)


def _check(db: str) -> None:
    import duckdb

    try:
        with connect(db) as reader:
            ((rows,),) = reader.sql(_FOREIGN_ROWS, {"app": APP}).fetchall()
            ((tables,),) = reader.sql(_FOREIGN_TABLES, {"ours": own_tables()}).fetchall()
    except (duckdb.Error, StoreError) as error:
        raise StoreError(_sentence(db, "it is no file of a demo")) from error
    if rows or tables:
        _refuse(db, f"it holds {rows:,} rows of other programs" if rows else "it has other tables")


def _refuse(db: str, reason: str) -> NoReturn:
    raise StoreError(_sentence(db, reason))


def _sentence(db: str, reason: str) -> str:
    return f"the demo needs a fresh file, and {db!r} stays as it is: {reason}; name another: --db"
