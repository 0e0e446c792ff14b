"""The drain: takes sealed segments into DuckDB, exactly once, whoever dies where.

Under our lock, so one at a time: open the file; in one transaction write the rows, the roll-ups and
the names of the segments; close; delete the segments. A crash before the commit leaves the segments
as they were; a crash after it leaves segments whose names are in the file, which the next drain
only deletes.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from otel_atm.store.aside import ingest_or_set_aside, put_back, set_aside
from otel_atm.store.files import listed, size_of
from otel_atm.store.ingest import ingest
from otel_atm.store.lock import let_go, locked, open_locked
from otel_atm.store.opening import opened
from otel_atm.store.paths import StorePaths
from otel_atm.store.points import SUFFIX as POINTS_SUFFIX
from otel_atm.store.points import has_points, take_points
from otel_atm.store.spool import SUFFIX
from otel_atm.store.unread import Unread

#: The most of one transaction: bytes of segments, which bound its memory to some eight times that,
#: and segments, of which each is an open file.
_BATCH_BYTES: Final = 32 << 20
_BATCH_SEGMENTS: Final = 250

#: Between two transactions the lock is free for so long that those who wait for it get it.
_PAUSE_S: Final = 0.02


def drain(paths: StorePaths, *, timeout_s: float | None = None, retry: bool = False) -> int:
    """Take all sealed segments of a store into its DuckDB file.

    Args:
        paths: of the store.
        timeout_s: seconds to wait for the lock at most; None: as long as it takes.
        retry: also those that were set aside, see `otel_atm.store.aside`. May be done again and
            again: what still cannot be read is set aside again.

    Returns:
        The number of rows that are new or corrected.

    Raises:
        StoreError: the lock was not free in time, or the file cannot be used. The segments stay.
        UnreadError: some segments cannot be read; all others were taken in.
        OSError: the folder cannot be used.
    """
    if retry and aside(paths):
        with locked(paths.lock, timeout_s=timeout_s):
            for file in aside(paths):
                put_back(file)
    if not has_segments(paths):
        return 0
    rows, unread = 0, Unread()
    while True:
        with locked(paths.lock, timeout_s=timeout_s):
            take_points(paths.spool, partial(opened, paths.database), unread)
            taken, more = _drain_some(paths, unread)
        rows += taken
        if not more:
            unread.check(paths.spool, rows)
            return rows
        time.sleep(_PAUSE_S)


def _drain_some(paths: StorePaths, unread: Unread) -> tuple[int, bool]:
    """One transaction: its rows, and whether there may be more to take in."""
    with _sealed(paths.spool, unread) as (segments, more):
        if not segments:
            return 0, more
        with opened(paths.database) as connection:
            rest = partial(ingest, damaged=True)
            rows = ingest_or_set_aside(connection, segments, ingest, rest)
        for segment in segments:
            segment.unlink(missing_ok=True)
    return rows, more


def create(paths: StorePaths) -> None:
    """Make the DuckDB file of a store, if nothing was drained into it yet.

    Raises:
        StoreError: the file cannot be used.
        OSError: the folder cannot be used.
    """
    with locked(paths.lock), opened(paths.database):
        pass


def check(paths: StorePaths) -> None:
    """Open the DuckDB file of a store and close it again.

    Raises:
        StoreError: it cannot be used, or is not one of a store.
        OSError: the folder cannot be used.
    """
    with locked(paths.lock), opened(paths.database, adopt=False):
        pass


def has_segments(paths: StorePaths) -> bool:
    """Whether any segment waits, sealed or not, or any points of metrics.

    Raises:
        OSError: the folder cannot be read; so do the next three.
    """
    return bool(_segments(paths.spool)) or has_points(paths.spool)


def aside(paths: StorePaths) -> list[Path]:
    """All segments and files of points that could not be read."""
    return set_aside(paths.spool, (SUFFIX, POINTS_SUFFIX))


def waiting(paths: StorePaths) -> list[Path]:
    """All segments, sealed or not."""
    return _segments(paths.spool)


def spooled_bytes(paths: StorePaths) -> int:
    """The size of all segments."""
    return sum(size_of(segment) for segment in _segments(paths.spool))


def _segments(folder: Path) -> list[Path]:
    return listed(folder, SUFFIX)


@contextmanager
def _sealed(folder: Path, unread: Unread) -> Iterator[tuple[list[Path], bool]]:
    """Sealed segments that hold something, locked while they are taken in; are there more?"""
    descriptors: list[int] = []
    sealed: list[Path] = []
    most, size, more = _most_segments(), 0, False
    try:
        for segment in sorted(_segments(folder)):
            if len(sealed) == most or size >= _BATCH_BYTES:
                more = True
                break
            try:
                descriptor, end = _opened(segment)
            except OSError as error:
                unread.note(segment, error)
                continue
            if descriptor is None:
                continue  # its process is writing it
            if end:
                descriptors.append(descriptor)
                sealed.append(segment)
                size += end
            else:
                segment.unlink()
                let_go(descriptor)
        yield sealed, more
    finally:
        for descriptor in descriptors:
            let_go(descriptor)


def _opened(segment: Path) -> tuple[int | None, int]:
    """A segment, locked, without a torn tail, and its size; None if somebody else has it locked."""
    descriptor = open_locked(segment, os.O_RDWR)
    if descriptor is None:
        return None, 0
    try:
        return descriptor, _cut_torn_tail(descriptor)
    except OSError:
        let_go(descriptor)
        raise


def _most_segments() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_BATCH_SEGMENTS, files // 4) if files > 0 else _BATCH_SEGMENTS


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
