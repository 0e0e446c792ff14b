"""Copies of a DuckDB file, for queries that take long: they hold no lock."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Final

from otel_atm.store.lock import let_go, open_locked

_SUFFIX: Final = ".copy"
#: Not the last bytes of a disk on which others want to write.
_SPARE_BYTES: Final = 64 << 20


@contextmanager
def copied(database: Path) -> Iterator[Path]:
    """A copy of a file that nobody may write to meanwhile, under our lock; deleted at the end.

    Whoever has opened it keeps it, deleted or not.

    Raises:
        OSError: there is no room for it, or none that we may write to.
    """
    delete_dead(database)
    size = database.stat().st_size
    if shutil.disk_usage(database.parent).free < size + _SPARE_BYTES:
        raise OSError(f"no room for a copy of {database}, {size:,} bytes")
    copy = database.with_name(f"{database.name}.{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}")
    descriptor = open_locked(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        # In a process of its own: closing the file in ours would end the lock that DuckDB has on it
        # for another query (fcntl).
        for suffix in ("", ".wal"):
            source = database.with_name(database.name + suffix)
            if source.exists():
                command = ["cp", "--", str(source), f"{copy}{suffix}"]
                subprocess.run(command, check=True, capture_output=True)
        yield copy
    except subprocess.CalledProcessError as error:
        raise OSError(f"{database} cannot be copied: {error.stderr.decode().strip()}") from error
    finally:
        _delete(copy)
        if descriptor is not None:
            let_go(descriptor)


def delete_dead(database: Path) -> None:
    """Delete the copies that processes left that were killed while they copied."""
    for copy in database.parent.glob(f"{escape(database.name)}.*{_SUFFIX}"):
        with suppress(OSError):
            descriptor = open_locked(copy, os.O_RDWR)
            if descriptor is not None:
                _delete(copy)
                let_go(descriptor)


def _delete(copy: Path) -> None:
    copy.unlink(missing_ok=True)
    copy.with_name(copy.name + ".wal").unlink(missing_ok=True)
