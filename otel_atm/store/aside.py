"""Aside: files of the spool that DuckDB cannot read are kept, and hold nobody up.

What cannot be read may be damaged, or the fault of this version: nobody can tell. So nothing is
deleted, and a later version, or this one once the file is mended, can take it in again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_atm.store.files import listed
from otel_atm.store.ingest import DamagedError
from otel_atm.trouble import logger

if TYPE_CHECKING:
    import duckdb
    from duckdb import DuckDBPyConnection

    Ingest = Callable[[DuckDBPyConnection, Sequence[Path]], int]

#: Behind the name of a file that could not be read, or not all of it; nobody deletes it.
BAD_SUFFIX: Final = ".bad"


def ingest_or_set_aside(
    connection: DuckDBPyConnection,
    files: Sequence[Path],
    ingest: Ingest,
    ingest_rest: Ingest | None = None,
) -> int:
    """Ingest all files together, else one by one; those that cannot be read get another name.

    Args:
        connection: to the file.
        files: of the spool.
        ingest: takes files in, in one transaction; how many rows.
        ingest_rest: the same for a file with damaged lines, without these.

    Returns:
        The number of rows.

    Raises:
        duckdb.Error: not for what a file holds; the files stay.
        OSError: a file cannot be renamed.
    """
    import duckdb

    try:
        return ingest(connection, files)
    except (duckdb.Error, DamagedError) as error:
        if isinstance(error, duckdb.Error) and not _is_of_content(error):
            raise
        connection.rollback()
        if len(files) > 1:
            alone = [[file] for file in files]
            return sum(ingest_or_set_aside(connection, one, ingest, ingest_rest) for one in alone)
        rows, reason = 0, f"cannot be read ({type(error).__name__})"
        if isinstance(error, DamagedError) and ingest_rest is not None:
            rows = ingest_rest(connection, files)
            reason = f"has damaged lines ({error.lines}); all others are in the DuckDB file"
        aside = files[0].with_name(files[0].name + BAD_SUFFIX)
        files[0].rename(aside)
        logger.error("otel-atm: %s %s; kept aside, for `otel-atm drain --retry`", aside, reason)
        return rows


def _is_of_content(error: duckdb.Error) -> bool:
    """Whether it may be for what a file holds, and not for the DuckDB file, or the system."""
    import duckdb

    kinds = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)
    return isinstance(error, kinds) or "CSV Error" in str(error)  # one of these has no kind


def set_aside(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files of a spool that were set aside, of these kinds.

    Raises:
        OSError: the folder cannot be read.
    """
    return [file for suffix in suffixes for file in listed(folder, suffix + BAD_SUFFIX)]


def put_back(file: Path) -> None:
    """Give a file that was set aside its name again; under the store's lock.

    Raises:
        OSError: it cannot be renamed.
    """
    file.rename(file.with_suffix(""))
