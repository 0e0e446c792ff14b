"""Files: what is done to files as such, for all that writes some beside the spool."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have a file, or what a folder says, on the disk.

    Raises:
        OSError: as the system says.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(file: Path) -> int:
    """In bytes; 0 if it is not there, e.g. drained while we looked.

    Raises:
        OSError: as the system says.
    """
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def literal(value: object) -> str:
    """A path, or another text, in SQL; for statements that take no parameters."""
    text = str(value).replace("'", "''")
    return f"'{text}'"
