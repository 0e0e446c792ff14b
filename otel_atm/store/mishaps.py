"""Mishaps of a store: which pass by themselves, and what may be said of the others.

The text of an error of DuckDB may quote a row, and so a user. What it says of the file and the disk
may be told, and is what somebody needs to know.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from otel_atm.errors import StoreError

_TOLD: Final = re.compile(
    r"No space left on device|Read-only file system|Permission denied|Input/output error|"
    r"Disk quota exceeded|Corrupt database file|not a valid DuckDB database file|"
    r"Could not read enough bytes|Out of Memory|No such file or directory"
)
_HELD: Final = re.compile(r"Could not set lock on file|has it open")
_WAITED: Final = re.compile(r"was locked for more than")


def was_locked(error: StoreError) -> bool:
    """Whether somebody else had our lock for too long."""
    return _WAITED.search(str(error)) is not None


def names_holder(error: StoreError) -> bool:
    """Whether it says which process has the DuckDB file open without our lock."""
    return _HELD.search(str(error)) is not None


def in_short(error: Exception, database: Path) -> Exception:
    """The same, with what may be told of it: of DuckDB's, and which file the system cannot use."""
    if isinstance(error, OSError) and error.filename is not None:
        return StoreError(f"{os.fsdecode(error.filename)}: {error.strerror}")
    if not type(error).__module__.lstrip("_").startswith("duckdb"):
        return error
    why = ", ".join(dict.fromkeys(_TOLD.findall(str(error)))) or type(error).__name__
    return StoreError(f"{database} could not be written: {why}; its rows stay in the spool")
