"""Points: metrics on their way into the file, a file of lines for each export.

A file is written under another name and locked, then renamed: whoever finds it finds all of an
export, or nothing. The drain takes its lines and its name in with one transaction, then deletes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Final

from otel_atm.errors import StoreError
from otel_atm.store.aside import ingest_or_set_aside
from otel_atm.store.files import listed, size_of
from otel_atm.store.lock import let_go, open_locked
from otel_atm.store.once import take_in_once
from otel_atm.store.opening import statements
from otel_atm.store.unread import Unread

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SUFFIX: Final = ".points"
_UNFINISHED: Final = ".unfinished"
#: The most files in one transaction.
_BATCH: Final = 100
#: What may wait at most, while the DuckDB file cannot be used.
MOST_BYTES: Final = 256 << 20

_Opened = Callable[[], AbstractContextManager["DuckDBPyConnection"]]


def put_points(folder: Path, lines: bytes) -> None:
    """Write the lines of an export. When this returns, they survive the death of the process.

    Raises:
        StoreError: too much waits already.
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    waiting = sum(size_of(path) for path in _files(folder))
    if waiting + len(lines) > MOST_BYTES:
        raise StoreError(f"{folder}: {waiting:,} bytes of metrics wait already: drain them")
    name = f"{time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
    unfinished = folder / (name + _UNFINISHED)
    descriptor = _begin(unfinished)
    try:
        _write_all(descriptor, lines)
        unfinished.rename(folder / name)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        let_go(descriptor)


def _begin(unfinished: Path) -> int:
    """Make and lock a file; again, if somebody who cleans up saw it before it was locked."""
    while True:
        descriptor = open_locked(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if descriptor is None:
            continue
        if os.fstat(descriptor).st_nlink:
            return descriptor
        let_go(descriptor)


def has_points(folder: Path) -> bool:
    """Whether any wait; an OSError if the folder cannot be read."""
    return bool(_files(folder))


def take_points(folder: Path, opened: _Opened, unread: Unread) -> None:
    """Take all files of points into the DuckDB file; under the store's lock.

    Args:
        folder: where they are.
        opened: opens the DuckDB file.
        unread: is told of files that cannot be read; they stay.

    Raises:
        StoreError: the DuckDB file cannot be used; nothing is lost.
        OSError: the folder cannot be used.
    """
    _clean_up(folder)
    while files := [file for file in sorted(_files(folder)) if unread.can_read(file)][:_BATCH]:
        with opened() as connection:
            ingest_or_set_aside(connection, files, _ingest)
        for file in files:
            file.unlink(missing_ok=True)


def _ingest(connection: DuckDBPyConnection, files: Sequence[Path]) -> int:
    return take_in_once(connection, "drained_points", files, _take_in)


def _take_in(connection: DuckDBPyConnection, files: Sequence[Path]) -> int:
    connection.execute("set variable points = ?::varchar[]", [[str(file) for file in files]])
    for statement in statements("points.sql"):
        connection.execute(statement)
    return len(files)


def _clean_up(folder: Path) -> None:
    """Delete what processes left unfinished that were killed as they wrote it."""
    for unfinished in listed(folder, SUFFIX + _UNFINISHED):
        try:
            descriptor = open_locked(unfinished, os.O_WRONLY)
        except FileNotFoundError:
            continue  # it is finished
        if descriptor is not None:
            unfinished.unlink(missing_ok=True)
            let_go(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _files(folder: Path) -> list[Path]:
    return listed(folder, SUFFIX)
