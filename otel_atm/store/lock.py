"""Our own lock around every opening of a DuckDB file.

DuckDB 2.0.0 reads a file's root pointers before it takes its own lock and never reads them again:
a process that opens the file while another closes it can overwrite what was committed. `flock` on a
file beside it, taken before opening and kept until after closing, prevents that between processes
and between threads.

A fork waits for those who hold it: see `otel_atm.store.forks`.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from otel_atm.errors import StoreError
from otel_atm.store.filesystem import check_locks
from otel_atm.store.forks import check_forked, using_duckdb

_POLL_S: Final = 0.01


@contextmanager
def locked(path: Path, *, shared: bool = False, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock of the file `path`, which is made if needed.

    Args:
        path: of the lock file.
        shared: with other readers; else alone.
        timeout_s: seconds to wait at most; None: as long as it takes.

    Raises:
        StoreError: the lock was not free in time, or locks do not hold in its folder, or
            this process was forked in the midst of DuckDB.
        OSError: the file cannot be made or opened.
    """
    check_forked()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _held.add(descriptor)
        try:
            _acquire(descriptor, kind, path, timeout_s, deadline)
            if _is_at(path, descriptor):  # else it was deleted, and others lock another file
                check_locks(path)
                with using_duckdb():
                    yield
                return
        finally:
            let_go(descriptor)


def open_locked(path: Path, flags: int) -> int | None:
    """Open a file and lock it for ourselves alone; None if somebody else has it.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    _held.add(descriptor)
    return descriptor


def let_go(descriptor: int) -> None:
    """Unlock and close. Closing alone would leave the lock to a child that was forked meanwhile."""
    _held.discard(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


# What this process has locked. A forked child has the same open files, and would keep the locks of
# a parent that dies; it closes them, without unlocking, which would unlock its parent's.
_held: set[int] = set()


def _close_inherited() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited)


def _acquire(
    descriptor: int, kind: int, path: Path, timeout_s: float | None, deadline: float | None
) -> None:
    if deadline is None:
        fcntl.flock(descriptor, kind)
        return
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StoreError(f"{path} was locked for more than {timeout_s:.1f} s") from None
            time.sleep(_POLL_S)
        else:
            return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
