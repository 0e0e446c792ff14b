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


def listed(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder whose names end so, in any order; none if there is no folder.

    `Path.glob` would also find none in a folder that cannot be read.

    Raises:
        OSError: something is there that cannot be read as a folder; it names it.
    """
    try:
        files = list(folder.iterdir())
    except FileNotFoundError:
        if folder.is_symlink():  # to what is gone, e.g. a disk that is not mounted
            raise
        return []
    return [file for file in files if file.name.endswith(suffix)]


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
