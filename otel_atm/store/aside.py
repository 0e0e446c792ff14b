"""Aside: files of the spool that DuckDB cannot read are kept, and hold nobody up.

What cannot be read may be damaged, or the fault of this version: nobody can tell. So nothing is
deleted, and a later version, or this one once the file is mended, can take it in again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_atm.trouble import logger

if TYPE_CHECKING:
    import duckdb
    from duckdb import DuckDBPyConnection

#: Behind the name of a file that could not be read: nothing of it is in the DuckDB file, and nobody
#: deletes it.
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
    except duckdb.Error as error:
        if not _is_of_content(error):
            raise
        connection.rollback()
        if len(files) > 1:
            return sum(ingest_or_set_aside(connection, [file], ingest) for file in files)
        aside = files[0].with_name(files[0].name + BAD_SUFFIX)
        files[0].rename(aside)
        logger.error(
            "otel-atm: %s cannot be read (%s); kept aside, for `otel-atm drain --retry`",
            aside,
            type(error).__name__,
        )
        return 0


def _is_of_content(error: duckdb.Error) -> bool:
    """Whether it may be for what a file holds, and not for the DuckDB file, or the system."""
    import duckdb

    kinds = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)
    return isinstance(error, kinds) or "CSV Error" in str(error)  # one of these has no kind


def set_aside(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files of a spool that were set aside, of these kinds."""
    return [file for suffix in suffixes for file in folder.glob(f"*{suffix}{BAD_SUFFIX}")]


def put_back(file: Path) -> None:
    """Give a file that was set aside its name again; under the store's lock.

    Raises:
        OSError: it cannot be renamed.
    """
    file.rename(file.with_suffix(""))
