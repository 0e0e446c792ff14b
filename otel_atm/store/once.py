"""Once: files of the spool into an open DuckDB file, in one transaction, and none a second time.

Either all of it is in the file after it, the rows and the names of the files, or nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otel_atm.store.files import listed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def take_in_once(
    connection: DuckDBPyConnection,
    names: str,
    files: Sequence[Path],
    take_in: Callable[[DuckDBPyConnection, Sequence[Path]], int],
    *,
    again: bool = False,
) -> int:
    """Take files in that were not taken in before, and keep their names.

    Args:
        connection: to the file.
        names: the table of the names of files that were taken in. A name is kept as long as its
            file is there, whichever batch it comes in; see docs, "Models".
        files: complete ones, at least one, of one folder and with one suffix.
        take_in: writes the rows of at least one file; how many.
        again: whether they may be taken in again: their names are not kept.

    Returns:
        What `take_in` returned; 0 if there was nothing to take in.

    Raises:
        duckdb.Error: the transaction is still open.
        OSError: the folder cannot be read; nothing was done.
    """
    present = [file.name for file in listed(files[0].parent, files[0].suffix)]
    connection.begin()
    connection.execute(f"delete from {names} where not list_contains(?, name)", [present])
    done = {name for (name,) in connection.execute(f"from {names}").fetchall()}
    fresh = [file for file in files if file.name not in done]
    rows = take_in(connection, fresh) if fresh else 0
    if fresh and not again:
        taken = [file.name for file in fresh]
        connection.execute(f"insert into {names} select unnest(?::varchar[])", [taken])
    connection.commit()
    return rows
