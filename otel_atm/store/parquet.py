"""Parquet: a file for each UTC day, for engines that are not DuckDB.

    FOLDER/day=2026-11-22/usage_events.parquet

A file is written under another name and gets its own when it is whole and on the disk. It says of
which rows it was made, so that a day that has not changed is not written again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_atm.errors import ConfigurationError, StoreError
from otel_atm.store.drain import drain
from otel_atm.store.files import literal, sync
from otel_atm.store.lock import locked
from otel_atm.store.opening import attached, not_ours, version_of
from otel_atm.store.paths import StorePaths
from otel_atm.store.progress import Progress
from otel_atm.store.relations import kept_since
from otel_atm.store.spool import seal_own

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Of the lock of a folder; engines pass over names that begin with a dot or an underscore.
_LOCK: Final = ".otel-atm.lock"
_PATIENCE_S: Final = 60.0
#: The key in a Parquet file's metadata that says of which rows it was made, and the version of how.
_MADE_OF: Final = "otel_atm.made_of"
_VERSION: Final = 1
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Relation:
    """What can be exported.

    Attributes:
        time: its column of timestamps.
        columns: as a SELECT says them, in types that every engine reads.
        order: of the rows of a file.
        kind: as `atm_horizon` calls it.
    """

    time: str
    columns: str
    order: str
    kind: str


_ROLLUP: Final = _Relation("bucket", "* replace (cost_usd::double as cost_usd)", "all", "rollups")
_RELATIONS: Final = {
    "usage_events": _Relation(
        "ts",
        # Other engines do not read a VARIANT.
        "* replace (attributes::json::varchar as attributes, cost_usd::double as cost_usd)",
        "ts, event_id",
        "usage_events",
    ),
    "usage_1h": _ROLLUP,
    "usage_1m": _ROLLUP,
}


@dataclass(frozen=True, slots=True)
class Export:
    """What was exported.

    Attributes:
        folder: of the files.
        written: days whose file was written.
        unchanged: days whose file was as it should be.
        kept: days whose file was left, since retention has deleted rows of the day since.
        rows: in the files that were written.
    """

    folder: Path
    written: tuple[date, ...]
    unchanged: tuple[date, ...]
    kept: tuple[date, ...]
    rows: int


def export(
    paths: StorePaths,
    folder: str | os.PathLike[str],
    *,
    since: date | None = None,
    until: date | None = None,
    relation: str = "usage_events",
    progress: Progress | None = None,
) -> Export:
    """Write a Parquet file for each UTC day that has rows.

    Programs are held up no longer than it takes to write one day.

    Args:
        paths: of the store.
        folder: made if needed.
        since: the first day; None: the first that has rows.
        until: the last day; None: the last that has rows.
        relation: "usage_events", "usage_1h" or "usage_1m".
        progress: told after each day.

    Raises:
        ConfigurationError: no such relation, or `until` is before `since`.
        StoreError: the file cannot be read, or `folder` not written; days that were written stay.
        OSError: `folder` cannot be used.
    """
    what = _relation(relation)
    if since is not None and until is not None and until < since:
        raise ConfigurationError(f"until={until} is before since={since}")
    target = Path(folder)
    _take_in(paths)
    target.mkdir(parents=True, exist_ok=True)
    written: list[date] = []
    unchanged: list[date] = []
    kept: list[date] = []
    rows = 0
    with locked(target / _LOCK, timeout_s=_PATIENCE_S):
        for draft in target.glob(f"day=*/{_draft_name(relation)}"):
            draft.unlink()
        days, complete_from = _days(paths, relation, what, since, until)
        for number, day in enumerate(days, 1):
            file = target / f"day={day}" / f"{relation}.parquet"
            if file.exists() and datetime.combine(day, datetime.min.time()) < complete_from:
                kept.append(day)
            elif count := _write_day(paths, relation, what, day, file):
                written.append(day)
                rows += count
            else:
                unchanged.append(day)
            if progress is not None:
                progress(number / len(days))
    return Export(target, tuple(written), tuple(unchanged), tuple(kept), rows)


def _relation(name: str) -> _Relation:
    if name not in _RELATIONS:
        raise ConfigurationError(f"relation={name!r}: expected one of {', '.join(_RELATIONS)}")
    return _RELATIONS[name]


def _take_in(paths: StorePaths) -> None:
    seal_own(paths.spool)
    drain(paths, timeout_s=_PATIENCE_S)
    if not paths.database.exists():
        raise StoreError(f"{str(paths.database)!r} does not exist: there is nothing to export")
    with _reading(paths):
        pass  # it is ours, and can be read: else no folder is made


def _days(
    paths: StorePaths, name: str, what: _Relation, since: date | None, until: date | None
) -> tuple[list[date], datetime]:
    """The days that have rows, and from when on retention has deleted nothing."""
    with _reading(paths) as connection:
        found = connection.execute(
            f"select distinct {what.time}::date as day from {name} "
            "where day >= coalesce($since, '-infinity'::date) "
            "and day <= coalesce($until, 'infinity'::date) order by day",
            {"since": since, "until": until},
        ).fetchall()
        return [day for (day,) in found], kept_since(connection, what.kind)


def _write_day(paths: StorePaths, name: str, what: _Relation, day: date, file: Path) -> int:
    """Write the file of a day; how many rows, 0 if it is as it should be already."""
    draft = file.with_name(_draft_name(name))
    selected = (
        f"select {what.columns} from {name} where {what.time} >= {literal(day)}::timestamp "
        f"and {what.time} < {literal(day + _DAY)}::timestamp"
    )
    with _reading(paths) as connection:
        ((count, made_of),) = connection.execute(
            f"select count(*), sum(hash(row))::varchar from ({selected}) as row"
        ).fetchall()
        made_of = f"{_VERSION}:{count}:{made_of}"
        if not count or _made_of(connection, file) == made_of:
            return 0
        file.parent.mkdir(exist_ok=True)
        try:
            connection.execute(
                f"copy ({selected} order by {what.order}) to {literal(draft)} "
                "(format parquet, compression zstd, "
                f"kv_metadata {{'{_MADE_OF}': {literal(made_of)}}})"
            )
            sync(draft)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    sync(file.parent)
    return int(count)


def _made_of(connection: DuckDBPyConnection, file: Path) -> str | None:
    """Of which rows a file was made; None if there is none, or it does not say."""
    import duckdb

    if not file.exists():
        return None
    try:
        found = connection.execute(
            "select decode(value) from parquet_kv_metadata(?) where decode(key) = ?",
            [str(file), _MADE_OF],
        ).fetchall()
    except duckdb.Error:
        return None  # whatever it is, it is written anew
    return found[0][0] if found else None


@contextmanager
def _reading(paths: StorePaths) -> Iterator[DuckDBPyConnection]:
    """The store, together with other readers."""
    with (
        locked(paths.lock, shared=True, timeout_s=_PATIENCE_S),
        attached(paths.database, "store", "exported", read_only=True) as connection,
    ):
        if version_of(connection, paths.database, "store") is None:
            raise not_ours(paths.database)
        connection.execute("use store")
        yield connection


def _draft_name(relation: str) -> str:
    return f".{relation}.parquet.draft"
