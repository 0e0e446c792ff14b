"""The drain: takes sealed segments into DuckDB, exactly once, whoever dies where.

Under our lock, so one at a time: open the file; in one transaction write the rows, the minutes and
the names of the segments; close; delete the segments. A crash before the commit leaves the segments
as they were; a crash after it leaves segments whose names are in the file, which the next drain
only deletes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_atm.errors import StoreError
from otel_atm.late import late_import
from otel_atm.store.lock import let_go, locked, open_locked
from otel_atm.store.paths import StorePaths
from otel_atm.store.spool import SUFFIX
from otel_atm.trouble import logger

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCHEMA_VERSION: Final = 1

#: The most segments in one transaction: each is an open file.
_BATCH: Final = 100

#: Of a segment that could not be read: nothing of it is in the DuckDB file, and nobody deletes it.
BAD_SUFFIX: Final = ".bad"

#: DuckDB must not reach for extensions that a query names: nothing here talks to a network.
OFFLINE: Final = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}


def drain(paths: StorePaths, *, timeout_s: float | None = None) -> int:
    """Take all sealed segments of a store into its DuckDB file.

    Args:
        paths: of the store.
        timeout_s: seconds to wait for the lock at most; None: as long as it takes.

    Returns:
        The number of rows that are new or corrected.

    Raises:
        StoreError: the lock was not free in time, or the file cannot be used. The segments stay.
        OSError: the folder cannot be used.
    """
    if not has_segments(paths):
        return 0
    rows = 0
    with locked(paths.lock, timeout_s=timeout_s):
        while True:
            with _sealed(paths.spool) as segments:
                if segments:
                    with opened(paths.database) as connection:
                        rows += _ingest_or_set_aside(connection, segments)
                    for segment in segments:
                        segment.unlink(missing_ok=True)
            if len(segments) < _BATCH:
                return rows


def create(paths: StorePaths) -> None:
    """Make the DuckDB file of a store, if nothing was drained into it yet.

    Raises:
        StoreError: the file cannot be used.
        OSError: the folder cannot be used.
    """
    with locked(paths.lock), opened(paths.database):
        pass


def has_segments(paths: StorePaths) -> bool:
    """Whether any segment waits, sealed or not."""
    return any(True for _ in _segments(paths.spool))


def waiting(paths: StorePaths) -> list[Path]:
    """All segments, sealed or not."""
    return list(_segments(paths.spool))


def spooled_bytes(paths: StorePaths) -> int:
    """The size of all segments."""
    return sum(segment.stat().st_size for segment in _segments(paths.spool))


def _segments(folder: Path) -> Iterator[Path]:
    return folder.glob(f"*{SUFFIX}")


@contextmanager
def _sealed(folder: Path) -> Iterator[list[Path]]:
    """Sealed segments that hold something, at most `_BATCH`; locked while they are taken in."""
    descriptors: list[int] = []
    sealed: list[Path] = []
    try:
        for segment in sorted(_segments(folder)):
            if len(sealed) == _BATCH:
                break
            try:
                descriptor = open_locked(segment, os.O_RDWR)
            except FileNotFoundError:
                continue  # its process ended it, since nothing was in it
            if descriptor is None:
                continue  # its process is writing it
            if _cut_torn_tail(descriptor):
                descriptors.append(descriptor)
                sealed.append(segment)
            else:
                segment.unlink()
                let_go(descriptor)
        yield sealed
    finally:
        for descriptor in descriptors:
            let_go(descriptor)


def _cut_torn_tail(descriptor: int) -> int:
    """Cut off a last line without an end, left by a kill; return the size that remains."""
    end = size = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 4096)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
    return end


@contextmanager
def opened(database: Path) -> Iterator[DuckDBPyConnection]:
    """The file, with our relations in it; under our lock.

    Raises:
        StoreError: it cannot be opened, or is not ours, or of a newer version.
    """
    with late_import():
        import duckdb  # 0.3 s, and only a process that drains or reads needs it

    try:
        connection = duckdb.connect(database, config=dict(OFFLINE))
    except duckdb.Error as error:
        raise StoreError(f"{database} cannot be opened: {error}") from error
    try:
        _ensure_schema(connection, database)
        yield connection
    finally:
        connection.close()


def _ensure_schema(connection: DuckDBPyConnection, database: Path) -> None:
    tables = {
        name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()
    }
    if "usage_events" in tables and "atm_schema" not in tables:
        raise StoreError(
            f"{database} has a table usage_events that is not otel-atm's: give it another file"
        )
    connection.begin()
    for statement in statements("schema.sql"):
        connection.execute(statement)
    found = connection.execute("select max(version) from atm_schema").fetchone()
    version = found[0] if found else None
    if version is None:
        connection.execute("insert into atm_schema values (?)", [SCHEMA_VERSION])
    connection.commit()
    if version is not None and version > SCHEMA_VERSION:
        raise StoreError(
            f"{database} was written by a newer otel-atm (schema {version}; this one knows "
            f"{SCHEMA_VERSION}): update otel-atm, or give it another file"
        )


def _ingest_or_set_aside(connection: DuckDBPyConnection, segments: list[Path]) -> int:
    """Ingest; a segment that cannot be read (a failing disk) must not hold up all the others."""
    import duckdb

    try:
        return _ingest(connection, segments)
    except (duckdb.DataError, duckdb.InvalidInputException) as error:
        connection.rollback()
        if len(segments) > 1:
            return sum(_ingest_or_set_aside(connection, [segment]) for segment in segments)
        aside = segments[0].with_suffix(BAD_SUFFIX)
        segments[0].rename(aside)
        logger.error("otel-atm: %s cannot be read (%s); kept aside", aside, type(error).__name__)
        return 0


def _ingest(connection: DuckDBPyConnection, segments: list[Path]) -> int:
    # A name is kept as long as its file is there, whichever batch it comes in: see docs, "Models".
    present = [segment.name for segment in _segments(segments[0].parent)]
    connection.begin()
    connection.execute("delete from drained_segments where not list_contains(?, name)", [present])
    done = {name for (name,) in connection.execute("from drained_segments").fetchall()}
    fresh = [segment for segment in segments if segment.name not in done]
    rows = 0
    if fresh:
        connection.execute(
            "set variable segments = ?::varchar[]", [[str(segment) for segment in fresh]]
        )
        for statement in statements("ingest.sql"):
            connection.execute(statement)
        counted = connection.execute("select count(*) from incoming").fetchone()
        rows = counted[0] if counted else 0
        connection.execute(
            "insert into drained_segments select unnest(?::varchar[])",
            [[segment.name for segment in fresh]],
        )
    connection.commit()
    return rows


def statements(name: str) -> list[str]:
    """Those of an SQL file in this room."""
    text = resources.files("otel_atm.store").joinpath(name).read_text("utf-8")
    return [statement for part in text.split(";\n") if (statement := part.strip())]
