"""Aside: files of the spool that DuckDB cannot read are kept, and hold nobody up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_atm.trouble import logger

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Of a file that could not be read: nothing of it is in the DuckDB file, and nobody deletes it.
BAD_SUFFIX: Final = ".bad"


def ingest_or_set_aside(
    connection: DuckDBPyConnection,
    files: Sequence[Path],
    ingest: Callable[[DuckDBPyConnection, Sequence[Path]], int],
) -> int:
    """Ingest all files together, else one by one; those that cannot be read get another name.

    Args:
        connection: to the file.
        files: of the spool.
        ingest: takes files in, in one transaction; how many rows.

    Returns:
        The number of rows.

    Raises:
        duckdb.Error: not for what a file holds; the files stay.
        OSError: a file cannot be renamed.
    """
    import duckdb

    try:
        return ingest(connection, files)
    except (duckdb.DataError, duckdb.InvalidInputException) as error:
        connection.rollback()
        if len(files) > 1:
            return sum(ingest_or_set_aside(connection, [file], ingest) for file in files)
        aside = files[0].with_suffix(BAD_SUFFIX)
        files[0].rename(aside)
        logger.error("otel-atm: %s cannot be read (%s); kept aside", aside, type(error).__name__)
        return 0
