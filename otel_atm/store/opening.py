"""Opening the DuckDB file: its version, its schema, and errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from otel_atm.errors import StoreError
from otel_atm.late import late_import
from otel_atm.store.files import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCHEMA_VERSION: Final = 2

#: DuckDB must not reach for extensions that a query names: nothing here talks to a network.
OFFLINE: Final = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}

#: Of those who write: rows come from a thread beside the application, which needs the processor.
_WRITING: Final = {**OFFLINE, "threads": 1}

_SCHEMA: Final = ("schema.sql", "points_schema.sql", "macros.sql")
_TABLE: Final = re.compile(r"create table if not exists (\w+)")
_HOLDER: Final = re.compile(r"Conflicting lock is held in (.+?) \(PID (\d+)\)")
_SQLITE: Final = '"sqlite'  # the extension that DuckDB would read it with
_OURSELVES: Final = ("different configuration than existing", "Unique file handle conflict")


class NewerFileError(StoreError):
    """The file was written by a newer version."""


def duckdb_module() -> ModuleType:
    """DuckDB: 0.3 s, and only a process that drains or reads needs it.

    Raises:
        StoreError: it is too old: see docs/decisions/0014.
    """
    with late_import():
        import duckdb

    if int(duckdb.__version__.partition(".")[0]) < 2:
        raise StoreError(
            f"otel-atm needs DuckDB 2.0 or newer, not {duckdb.__version__}: "
            "pip install --upgrade duckdb"
        )
    return duckdb


@contextmanager
def opened(database: Path, *, adopt: bool = True) -> Iterator[DuckDBPyConnection]:
    """The file, made or brought to this version if need be. Under our lock only.

    Args:
        database: the file.
        adopt: whether one that is there, and has no tables of ours, gets them.

    Raises:
        StoreError: it cannot be opened, is not ours, or is of a newer version.
    """
    duckdb = duckdb_module()
    adopt = adopt or not database.exists()
    try:
        connection = duckdb.connect(database, config=dict(_WRITING))
    except duckdb.Error as error:
        raise StoreError(explained(database, error)) from error
    try:
        quieten(connection)
        _ensure_schema(connection, database, adopt=adopt)
        yield connection
    finally:
        connection.close()


@contextmanager
def attached(
    database: Path, name: str, verb: str, *, read_only: bool = False
) -> Iterator[DuckDBPyConnection]:
    """The file beside a database in memory. Under our lock only.

    Not by `duckdb.connect`: that would share the file with whoever has it open in this process.

    Args:
        database: the file.
        name: that it has in SQL.
        verb: what is done with it, for errors, e.g. "exported".
        read_only: else it is for us alone.

    Raises:
        StoreError: for any error of DuckDB, also within.
    """
    duckdb = duckdb_module()
    settings = {**OFFLINE, "temp_directory": f"{database}.tmp"}
    connection = duckdb.connect(":memory:", config=settings)
    try:
        how = " (read_only)" if read_only else ""
        connection.execute(f"attach {literal(database)} as {name}{how}")
        yield connection
    except duckdb.Error as error:
        raise StoreError(explained(database, error, verb)) from error
    finally:
        connection.close()


def quieten(connection: DuckDBPyConnection) -> None:
    """Have DuckDB draw no bars into the application's output."""
    with suppress(duckdb_module().InvalidInputException):  # a notebook that cannot draw any
        connection.execute("set enable_progress_bar = false")


def explained(database: Path, error: Exception, verb: str = "opened") -> str:
    """Why a file cannot be opened, or read, and who holds it."""
    text, failed = str(error), f"{database} cannot be {verb}"
    if holder := _HOLDER.search(text):
        return (
            f"{failed}: process {holder[2]} ({holder[1]}) has it open without "
            "otel-atm; close it there. What was spooled is kept"
        )
    if any(sign in text for sign in _OURSELVES):
        return (
            f"{failed}: this very process has it open by duckdb.connect(); close it, or use "
            "otel_atm.connect(). What was spooled is kept"
        )
    if _SQLITE in text:
        return f"{failed}: it is a SQLite file; expected a DuckDB file"
    return f"{failed}: {text}"


def not_ours(database: Path) -> StoreError:
    """Of a DuckDB file without our tables."""
    return StoreError(f"{database} was not written by otel-atm: it has no usage_events")


def version_of(connection: DuckDBPyConnection, database: Path, catalog: str) -> int | None:
    """The schema version of an attached file; None of one that has no tables of ours.

    Raises:
        StoreError: it is not ours, or newer than this program.
    """
    found = connection.execute(
        "select table_name from duckdb_tables() where database_name = ?", [catalog]
    ).fetchall()
    tables = {name for (name,) in found}
    if "atm_schema" not in tables:
        if "usage_events" in tables:
            raise StoreError(
                f"{database} has a table usage_events that is not otel-atm's: give it another file"
            )
        return None
    named = catalog.replace('"', '""')
    row = connection.execute(f'select max(version) from "{named}".main.atm_schema').fetchone()
    version: int | None = row[0] if row else None
    if version is not None and version > SCHEMA_VERSION:
        raise NewerFileError(
            f"{database} was written by a newer otel-atm (schema {version}; this one knows "
            f"{SCHEMA_VERSION}): update otel-atm, or give it another file"
        )
    return version


def statements(name: str) -> list[str]:
    """Those of an SQL file of ours."""
    text = resources.files("otel_atm.store").joinpath(name).read_text("utf-8")
    return [statement for part in text.split(";\n") if (statement := part.strip())]


def own_tables() -> list[str]:
    """Names of the tables that a file of this version, or of an older one, may have."""
    made = [each for name in _SCHEMA for each in statements(name)]
    return ["usage_1m_changes", *_TABLE.findall("\n".join(made))]


def _ensure_schema(connection: DuckDBPyConnection, database: Path, *, adopt: bool) -> None:
    row = connection.execute("select current_database()").fetchone()
    version = version_of(connection, database, row[0] if row else "")
    if version == SCHEMA_VERSION:
        return
    if version is None and not adopt:
        raise not_ours(database)
    connection.begin()
    if version == 1:
        connection.execute("drop view usage_1m")
    for name in _SCHEMA:
        for statement in statements(name):
            connection.execute(statement)
    if version == 1:
        for statement in statements("migrate_1.sql"):
            connection.execute(statement)
    connection.execute("delete from atm_schema")
    connection.execute("insert into atm_schema values (?)", [SCHEMA_VERSION])
    connection.commit()
