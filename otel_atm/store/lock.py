"""Our own lock around every opening of a DuckDB file.

DuckDB 2.0.0 reads a file's root pointers before it takes its own lock and never reads them again:
a process that opens the file while another closes it can overwrite what was committed. `flock` on a
file beside it, taken before opening and kept until after closing, prevents that between processes
and between threads.
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

_POLL_S: Final = 0.01


@contextmanager
def locked(path: Path, *, shared: bool = False, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock of the file `path`, which is made if needed.

    Args:
        path: of the lock file.
        shared: with other readers; else alone.
        timeout_s: seconds to wait at most; None: as long as it takes.

    Raises:
        StoreError: the lock was not free in time.
        OSError: the file cannot be made or opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, path, timeout_s)
        yield
    finally:
        os.close(descriptor)  # which lets go of the lock


def try_lock(descriptor: int) -> bool:
    """Lock an open file for ourselves alone, if nobody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _acquire(descriptor: int, kind: int, path: Path, timeout_s: float | None) -> None:
    if timeout_s is None:
        fcntl.flock(descriptor, kind)
        return
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StoreError(f"{path} was locked for more than {timeout_s:.1f} s") from None
            time.sleep(_POLL_S)
        else:
            return
