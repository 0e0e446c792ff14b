"""Unread: files of the spool that cannot be opened hold no others up, and are told of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from otel_atm.errors import StoreError

#: Of one error: how many files it names.
_MOST_NAMED: Final = 3


class UnreadError(StoreError):
    """Files of the spool could not be read; what all others hold is in the DuckDB file.

    Attributes:
        rows: that are new or corrected all the same.
        files: of each that is left, its path and why.
    """

    def __init__(self, folder: Path, why: dict[Path, str], rows: int) -> None:
        self.rows = rows
        self.files = [f"{file}: {reason}" for file, reason in sorted(why.items())]
        named = [f"{file.name}: {reason}" for file, reason in sorted(why.items())[:_MOST_NAMED]]
        more = len(why) - len(named)
        super().__init__(
            f"{len(why):,} file{'s' * (len(why) != 1)} of {folder} cannot be read, and what they "
            f"hold is missing: {'; '.join(named)}{f'; and {more:,} more' if more else ''}"
        )


class Unread:
    """Collects them during one drain."""

    def __init__(self) -> None:
        self._why: dict[Path, str] = {}

    def note(self, file: Path, error: OSError) -> None:
        """Keep why a file cannot be read; not of one that is gone, which somebody else ended."""
        if not isinstance(error, FileNotFoundError) or file.is_symlink():
            self._why[file] = error.strerror or type(error).__name__

    def can_read(self, file: Path) -> bool:
        """Whether a file can be opened, and read from; noted if not."""
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.read(descriptor, 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.note(file, error)
            return False
        return True

    def check(self, folder: Path, rows: int) -> None:
        """Tell of them, once all others are taken in.

        Raises:
            UnreadError: there are any.
        """
        if self._why:
            raise UnreadError(folder, self._why, rows)
