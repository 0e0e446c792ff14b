"""Compact: what is left of a DuckDB file in a new one, without the room that deleted rows take.

Under our lock: copy everything into a file beside it, have it on the disk, and give it the name of
the old one. Killed at any moment, the file under that name is whole, the old one or the new; what
a copy that never came to its name leaves behind is removed the next time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_atm.errors import StoreError
from otel_atm.store.drain import drain
from otel_atm.store.files import literal, sync
from otel_atm.store.lock import locked
from otel_atm.store.opening import attached, opened
from otel_atm.store.paths import StorePaths
from otel_atm.store.progress import Progress
from otel_atm.store.spool import seal_own

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: For how long to wait for others, in seconds.
_PATIENCE_S: Final = 60.0
#: How often the size of the copy is looked at, for its progress.
_LOOK_S: Final = 0.1
#: What must be free beyond what the copy may take, in bytes.
_MARGIN: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Compaction:
    """What compacting has changed.

    Attributes:
        before, after: the size of the file, in bytes.
    """

    before: int
    after: int


def compact(
    paths: StorePaths,
    *,
    timeout_s: float = _PATIENCE_S,
    progress: Progress | None = None,
) -> Compaction:
    """Drain, and write the DuckDB file anew, as small as it can be.

    Programs of ours go on meanwhile: what they meter is spooled, and drained into the new file.

    Args:
        paths: of the store.
        timeout_s: seconds to wait for drains and queries of others.
        progress: told now and then.

    Raises:
        StoreError: there is no file, some process has it open (it is named), there is no room for
            a second one, or it cannot be read. The file is as it was.
        OSError: the folder cannot be used. The file is as it was.
    """
    if not paths.database.exists() and not paths.spool.exists():
        raise StoreError(f"{str(paths.database)!r} does not exist: there is nothing to compact")
    seal_own(paths.spool)
    drain(paths, timeout_s=timeout_s)
    with locked(paths.lock, timeout_s=timeout_s):
        for leftover in _leftovers(paths.database):
            leftover.unlink()
        with opened(paths.database, adopt=False):
            pass  # it is ours, no newer than we, and what its log holds is in the file afterwards
        return _compact(paths.database, progress or (lambda _: None))


def _compact(database: Path, progress: Progress) -> Compaction:
    before = database.stat()
    copy = _copy_of(database)
    try:
        with attached(database, "old", "compacted") as connection:
            needed = _used_bytes(connection)
            _check_room(copy, needed)
            connection.execute(f"attach {literal(copy)} as new")
            _make_alike(copy, before)  # before anything is in it
            _copy(connection, copy, lambda size: progress(min(1.0, size / needed)))
            _check_copy(connection)
            connection.execute("detach new")
            sync(copy)
            # Nobody else can have opened the old one: it is attached here until it is replaced.
            copy.replace(database)
        sync(database.parent)
    finally:
        for leftover in _leftovers(database):
            leftover.unlink()
    progress(1.0)
    return Compaction(before.st_size, database.stat().st_size)


def _used_bytes(connection: DuckDBPyConnection) -> int:
    """What the rows that are left take at most."""
    ((block_bytes, used_blocks),) = connection.execute(
        "select block_size, used_blocks from pragma_database_size() where database_name = 'old'"
    ).fetchall()
    return max(1, int(block_bytes) * int(used_blocks))


def _check_room(copy: Path, needed: int) -> None:
    free = shutil.disk_usage(copy.parent).free
    if free < needed + _MARGIN:
        raise StoreError(
            f"{copy.parent} has {free / 1e6:,.0f} MB free; a compact copy may take "
            f"{(needed + _MARGIN) / 1e6:,.0f} MB. Nothing was changed"
        )


def _copy(connection: DuckDBPyConnection, copy: Path, tell: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        copying = pool.submit(connection.execute, "copy from database old to new")
        while wait([copying], _LOOK_S).not_done:
            tell(copy.stat().st_size)
    copying.result()
    connection.execute("checkpoint new")


def _check_copy(connection: DuckDBPyConnection) -> None:
    """Whether the copy has every row.

    Raises:
        StoreError: it has not.
    """
    tables = connection.execute(
        "select table_name from duckdb_tables() where database_name = 'old' order by 1"
    ).fetchall()
    for (table,) in tables:
        counts = [
            connection.execute(f'select count(*) from {name}.main."{table}"').fetchall()
            for name in ("old", "new")
        ]
        if counts[0] != counts[1]:
            raise StoreError(f"the compact copy of {table} misses rows: nothing was changed")


def _make_alike(copy: Path, old: os.stat_result) -> None:
    """The owner and mode of the file that it replaces."""
    if (copy.stat().st_uid, copy.stat().st_gid) != (old.st_uid, old.st_gid):
        os.chown(copy, old.st_uid, old.st_gid)
    copy.chmod(old.st_mode & 0o7777)


def _copy_of(database: Path) -> Path:
    return database.with_name(database.name + ".compact")


def _leftovers(database: Path) -> list[Path]:
    """Of copies that did not come to their name."""
    copy = _copy_of(database)
    return [path for path in (copy, Path(f"{copy}.wal")) if path.exists()]
