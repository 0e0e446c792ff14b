"""Where the parts of a store lie: a DuckDB file, and beside it a lock and a folder of segments."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from otel_atm.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class StorePaths:
    """The paths of one store.

    Attributes:
        database: the DuckDB file.
        lock: what everybody locks who opens the DuckDB file.
        spool: the folder of segments that are not in it yet.
    """

    database: Path
    lock: Path
    spool: Path

    @property
    def ledger(self) -> Path:
        """The file of the ledger that belongs to the store."""
        return self.database.with_name(self.database.name + ".ledger")

    @classmethod
    def of(cls, database: str | os.PathLike[str]) -> StorePaths:
        """The paths of the store whose DuckDB file is `database`.

        Raises:
            ConfigurationError: for an empty path, for a folder, and for one that is not UTF-8,
                which DuckDB cannot open.
        """
        given = str(database)
        if not given or "\0" in given:
            raise ConfigurationError(
                f"store={given!r}: expected the path of a DuckDB file, or None"
            )
        path = Path(os.path.realpath(database))  # one file has one lock, whatever it is called
        if not _is_utf8(path):
            raise ConfigurationError(f"store={str(path)!r} is not UTF-8; DuckDB cannot open it")
        if path.is_dir():
            raise ConfigurationError(f"store={given!r} is a folder; expected a DuckDB file")
        return cls(path, path.with_name(path.name + ".lock"), path.with_name(path.name + ".spool"))


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
