"""Keeping house: delete by age, shrink, export, forget; what the command line does, in Python.

::

    from otel_atm import housekeeping

    housekeeping.prune("tokens.duckdb", events="90 days")
    housekeeping.export("tokens.duckdb", "archive")

All of it may be done while programs write to the file.
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

from otel_atm.errors import ConfigurationError
from otel_atm.store import compact as compacting
from otel_atm.store import forget as forgetting
from otel_atm.store import parquet, retention
from otel_atm.store.compact import Compaction
from otel_atm.store.forget import Forgotten
from otel_atm.store.parquet import Export
from otel_atm.store.paths import StorePaths
from otel_atm.store.progress import Progress
from otel_atm.store.retention import Pruned

__all__ = [
    "Compaction",
    "Export",
    "Forgotten",
    "Pruned",
    "compact",
    "export",
    "forget",
    "prune",
]


def prune(
    path: str | os.PathLike[str] = "tokens.duckdb",
    *,
    events: str | timedelta | None = None,
    rollups: str | timedelta | None = None,
    progress: Progress | None = None,
) -> Pruned:
    """Delete events and roll-ups that are too old.

    Ages are cut at midnight UTC, those under two days at a full hour: no hour is kept in part.

    Args:
        path: of the DuckDB file.
        events: for how long to keep them, e.g. "90 days", "12h", or a timedelta; None: for ever.
        rollups: the same, for ``usage_1m`` and ``usage_1h``.
        progress: called with the part that is done, 0 to 1.

    Raises:
        ConfigurationError: an age that cannot be used.
        StoreError: the file cannot be used.
    """
    return retention.prune(StorePaths.of(path), events, rollups, progress=progress)


def compact(
    path: str | os.PathLike[str] = "tokens.duckdb", *, progress: Progress | None = None
) -> Compaction:
    """Write the DuckDB file anew, as small as it can be.

    Whenever it is killed, the file is whole. Programs that use otel-atm go on meanwhile.

    Args:
        path: of the DuckDB file.
        progress: called with the part that is done, 0 to 1.

    Raises:
        StoreError: some process has the file open (it is named), there is no room, or the file
            cannot be used. It is as it was.
    """
    return compacting.compact(StorePaths.of(path), progress=progress)


def export(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    relation: str = "usage_events",
    progress: Progress | None = None,
) -> Export:
    """Write a Parquet file for each UTC day; a day that has not changed is not written again.

    Args:
        path: of the DuckDB file.
        folder: of the files, ``FOLDER/day=2026-11-22/usage_events.parquet``; made if needed.
        since: the first day, a date or e.g. "2026-11-22"; None: the first that has rows.
        until: the last day, the same; None: the last that has rows.
        relation: "usage_events", "usage_1h" or "usage_1m".
        progress: called with the part that is done, 0 to 1.

    Raises:
        ConfigurationError: an argument that cannot be used.
        StoreError: the file cannot be read. Days that were written stay.
    """
    return parquet.export(
        StorePaths.of(path),
        folder,
        since=_day("since", since),
        until=_day("until", until),
        relation=relation,
        progress=progress,
    )


def forget(
    path: str | os.PathLike[str],
    user: str,
    *,
    ledger: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Forgotten:
    """Make a user's rows anonymous, in every file of a store; what was used stays.

    Exported Parquet files are not touched. A program that still runs may write the user anew.

    Args:
        path: of the DuckDB file.
        user: as in ``user_id``.
        ledger: the SQLite file of the ledger; None: the one beside the store.
        progress: called with the part that is done, 0 to 1.

    Raises:
        ConfigurationError: `user` is no text, or empty.
        StoreError: the file cannot be used. What was done before stays done; do it again.
    """
    return forgetting.forget(
        StorePaths.of(path),
        user,
        ledger=None if ledger is None else Path(ledger),
        progress=progress,
    )


def _day(name: str, day: date | str | None) -> date | None:
    if day is None or type(day) is date:
        return day
    try:
        return date.fromisoformat(day)  # type: ignore[arg-type]  # what is no text is told below
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name}={day!r}: expected a day, e.g. '2026-11-22'") from None
