"""Retention: rows that are older than they are to be kept leave the file.

How far it went is in the file, in ``atm_horizon``: the drain takes in no event from before it, and
changes no roll-up there. A late correction of an event that is gone, or a segment of a program that
slept for months, would count again what the roll-ups have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from otel_atm.errors import StoreError
from otel_atm.store.age import horizon, read_age
from otel_atm.store.lock import locked
from otel_atm.store.opening import opened, statements
from otel_atm.store.paths import StorePaths
from otel_atm.store.progress import Progress
from otel_atm.store.relations import EVENTS, POINTS, ROLLUPS, Table, present

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: What is older than its age → the tables that hold it. Their names in `atm_horizon`.
_KINDS: Final = {"usage_events": EVENTS, "rollups": ROLLUPS}
#: How much is deleted in one transaction.
_STEP: Final = timedelta(days=1)
_INTERVAL_S: Final = 3600.0
#: For how long the store deletes at a time, in seconds; the rest waits for the next time.
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention has deleted.

    Attributes:
        events, rollups, points: rows of tables.
        events_since, rollups_since: where what is kept begins, naive and in UTC; None: for ever.
        done: whether nothing that is too old is left.
    """

    events: int
    rollups: int
    points: int
    events_since: datetime | None
    rollups_since: datetime | None
    done: bool = True


def prune(
    paths: StorePaths,
    events: str | timedelta | None = None,
    rollups: str | timedelta | None = None,
    *,
    now: datetime | None = None,
    patience_s: float | None = None,
    progress: Progress | None = None,
    adopt: bool = False,
) -> Pruned:
    """Delete events and roll-ups that are too old, a day in a transaction, the oldest first.

    Args:
        paths: of the store.
        events: how long to keep them, see `otel_atm.store.age.read_age`; None: for ever.
        rollups: the same, for `usage_1m`, `usage_1h` and `metric_points`.
        now: naive, in UTC; None: by the clock.
        patience_s: for how long at most; None: until it is done.
        progress: told after each day.
        adopt: whether a file without our tables gets them; else it is an error.

    Raises:
        ConfigurationError: an age that cannot be used.
        StoreError: the file cannot be used; what was deleted before stays deleted.
    """
    kept = {"usage_events": read_age("events", events), "rollups": read_age("rollups", rollups)}
    if not paths.database.exists():
        raise StoreError(f"{str(paths.database)!r} does not exist: there is nothing to delete")
    now = now or datetime.now(UTC).replace(tzinfo=None)
    since = {kind: horizon(now, age) for kind, age in kept.items() if age is not None}
    deadline = None if patience_s is None else time.monotonic() + patience_s
    rows = dict.fromkeys(_KINDS, 0)
    with locked(paths.lock), opened(paths.database, adopt=adopt) as connection:
        done = all(
            _prune_kind(connection, kind, until, deadline, rows, progress)
            for kind, until in since.items()
        )
        points = _prune_points(connection, since["rollups"]) if done and "rollups" in since else 0
    return Pruned(
        rows["usage_events"],
        rows["rollups"],
        points,
        since.get("usage_events"),
        since.get("rollups"),
        done,
    )


def _prune_kind(
    connection: DuckDBPyConnection,
    kind: str,
    until: datetime,
    deadline: float | None,
    rows: dict[str, int],
    progress: Progress | None,
) -> bool:
    """Delete what is before `until`; False if there was no time for all of it."""
    tables = present(connection, _KINDS[kind])
    first = oldest = _oldest(connection, tables)
    while oldest is not None and oldest < until:
        if deadline is not None and time.monotonic() >= deadline:
            return False
        step = min(until, oldest.replace(hour=0, minute=0, second=0, microsecond=0) + _STEP)
        rows[kind] += _delete(connection, kind, tables, step)
        oldest = _oldest(connection, tables)
        if progress is not None and first is not None:
            progress((step - first) / (until - first))
    _delete(connection, kind, (), until)  # also where there was nothing: what comes late is too old
    return True


def _prune_points(connection: DuckDBPyConnection, until: datetime) -> int:
    """Delete points of metrics from before `until`, all at once; how many."""
    if not present(connection, POINTS):
        return 0
    connection.begin()
    connection.execute("set variable until = ?::timestamp", [until])
    (statement,) = statements("prune_points.sql")
    ((rows,),) = connection.execute(statement).fetchall()
    _say(connection, "metric_points", until)
    connection.commit()
    return int(rows)


def _oldest(connection: DuckDBPyConnection, tables: Sequence[Table]) -> datetime | None:
    found = [
        connection.execute(f"select min({table.time}) from {table.name}").fetchall()[0][0]
        for table in tables
    ]
    return min((time for time in found if time is not None), default=None)


def _delete(
    connection: DuckDBPyConnection, kind: str, tables: Sequence[Table], until: datetime
) -> int:
    """Delete what is before `until`, and say so in the file; how many rows."""
    connection.begin()
    _say(connection, kind, until)
    rows = 0
    for table in tables:
        ((deleted,),) = connection.execute(
            f"delete from {table.name} where {table.time} < ?", [until]
        ).fetchall()
        rows += int(deleted)
    connection.commit()
    return rows


def _say(connection: DuckDBPyConnection, kind: str, until: datetime) -> None:
    """Keep in the file from when on rows are kept; it never goes back."""
    connection.execute(
        "insert into atm_horizon select $kind, $until where not exists "
        "(from atm_horizon where relation = $kind and since >= $until)",
        {"kind": kind, "until": until},
    )
    connection.execute(
        "delete from atm_horizon where relation = $kind and since < $until",
        {"kind": kind, "until": until},
    )


class Retention:
    """What a store does by itself: about once an hour, for a second at most.

    Args:
        events, rollups: see `prune`.
        mono: seconds of a clock that never goes back.

    Raises:
        ConfigurationError: quotes an age that cannot be used.
    """

    def __init__(
        self,
        events: str | timedelta | None,
        rollups: str | timedelta | None,
        *,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = read_age("keep_events", events)
        self._rollups = read_age("keep_rollups", rollups)
        self._mono = mono
        self._due_at = mono()

    def tend(self, paths: StorePaths) -> None:
        """Delete what is too old, if it is time for it.

        Raises:
            StoreError: the file cannot be used; it is tried again in an hour.
        """
        if (self._events is None and self._rollups is None) or self._mono() < self._due_at:
            return
        self._due_at = self._mono() + _INTERVAL_S
        if not paths.database.exists():
            return
        pruned = prune(paths, self._events, self._rollups, patience_s=_PATIENCE_S, adopt=True)
        if not pruned.done:
            self._due_at = self._mono()  # after the next drain
