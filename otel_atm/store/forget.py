"""Forget: a person disappears from a store, and what they have used stays.

Their rows become anonymous, in the DuckDB file, in segments that were kept aside and in the ledger.
Then the file is written anew, since DuckDB keeps what was deleted until its room is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_atm.budget import Budget
from otel_atm.errors import BudgetError, ConfigurationError, StoreError
from otel_atm.event import TEXT_LENGTH
from otel_atm.ledger.forget import forget_payer
from otel_atm.store.aside import BAD_SUFFIX
from otel_atm.store.compact import compact
from otel_atm.store.copies import delete_dead
from otel_atm.store.drain import drain, waiting
from otel_atm.store.files import listed, sync
from otel_atm.store.ingest import merge_added
from otel_atm.store.lock import locked
from otel_atm.store.opening import opened, statements
from otel_atm.store.paths import StorePaths
from otel_atm.store.progress import Progress
from otel_atm.store.relations import POINTS, ROLLUPS, present
from otel_atm.store.spool import seal_own

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: For how long to wait until running programs seal what they have written: they do so each second.
_PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What has become anonymous.

    Attributes:
        events, rollups: rows of tables.
        segments: lines deleted from segments that were kept aside (``.bad``).
        accounts: payers deleted from the ledger.
        waiting: segments of running programs that could not be taken in; they may name the person.
        naming: files of running programs, beside the ledger, that name the person until they end.
    """

    events: int
    rollups: int
    segments: int
    accounts: int
    waiting: tuple[Path, ...]
    naming: tuple[Path, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing that is left names the person."""
        return not self.waiting and not self.naming


def forget(
    paths: StorePaths,
    user: str,
    *,
    ledger: Path | None = None,
    patience_s: float = _PATIENCE_S,
    progress: Progress | None = None,
) -> Forgotten:
    """Make all rows of a user anonymous, and leave no trace of the user in any file.

    May be done again, e.g. after a kill.

    Args:
        paths: of the store.
        user: as in ``user_id``.
        ledger: the file of the ledger; None: the one beside the store.
        patience_s: seconds to wait for segments that programs are writing.
        progress: of compacting, told now and then.

    Raises:
        ConfigurationError: `user` is no text, or empty.
        StoreError: there is no store, or it cannot be used. What was done before stays done.
        LedgerError: the same, of the ledger.
        OSError: a file cannot be written.
    """
    if type(user) is not str or not user:
        raise ConfigurationError(f"user={user!r}: expected a user's id, as in the column user_id")
    if not paths.database.exists() and not paths.spool.exists():
        raise StoreError(f"{str(paths.database)!r} does not exist: there is nobody to forget")
    person = user.encode("utf-8", "backslashreplace").decode()[:TEXT_LENGTH]  # as in the spool
    left = _take_in(paths, patience_s)
    # The ledger first: only the rows say which sessions are the person's, also after a kill.
    payer = {"user": {user, person}, "session": _sessions(paths, person)}
    now_ns = int(datetime.now(UTC).timestamp() * 1e9)
    accounts, naming = forget_payer(ledger or paths.ledger, payer, now_ns)
    events, rollups = _forget_rows(paths, person)
    with locked(paths.lock):
        lines = sum(_clean(path, person) for path in listed(paths.spool, BAD_SUFFIX))
        delete_dead(paths.database)
    compact(paths, progress=progress)
    return Forgotten(events, rollups, lines, accounts, left, naming)


def _take_in(paths: StorePaths, patience_s: float) -> tuple[Path, ...]:
    """Drain until all that was there is in the file; the segments that still are not."""
    seal_own(paths.spool)
    deadline = time.monotonic() + patience_s
    before = set(waiting(paths))
    while True:
        drain(paths, timeout_s=None)
        left = before.intersection(waiting(paths))
        if not left or time.monotonic() >= deadline:
            return tuple(sorted(left))
        time.sleep(_LOOK_S)


def _sessions(paths: StorePaths, person: str) -> set[str]:
    """Those of the person and of nobody else."""
    with locked(paths.lock), opened(paths.database, adopt=False) as connection:
        found = connection.execute(
            "select session_id from usage_events where session_id is not null "
            "group by all having bool_and(user_id is not distinct from ?)",
            [person],
        ).fetchall()
    return {session for (session,) in found}


def _forget_rows(paths: StorePaths, person: str) -> tuple[int, int]:
    """Rows of events and of roll-ups that were changed."""
    with locked(paths.lock), opened(paths.database, adopt=False) as connection:
        connection.begin()
        connection.execute("set variable person = ?", [person])
        connection.execute("set variable naming = ?::varchar[]", [_naming(connection, person)])
        changed = [
            int(connection.execute(statement).fetchall()[0][0])
            for statement in statements("forget.sql")
        ]
        rollups = _forget_rollups(connection, person)
        _forget_points(connection, person)
        connection.commit()
    return changed[0], rollups


def _forget_rollups(connection: DuckDBPyConnection, person: str) -> int:
    """How many rows were merged into those of nobody in their bucket."""
    changed = 0
    for table in ROLLUPS:
        added = table.name.replace("usage", "added")
        connection.execute(
            f"create or replace temp table {added} as "
            "select * exclude (cost_usd) replace (null::varchar as user_id), "
            f"round(cost_usd * 1e12) as cost_pico from {table.name} where user_id = ?",
            [person],
        )
        ((rows,),) = connection.execute(
            f"delete from {table.name} where user_id = ?", [person]
        ).fetchall()
        changed += int(rows)
    merge_added(connection)
    return changed


def _forget_points(connection: DuckDBPyConnection, person: str) -> None:
    """Empty attributes of points of metrics that are the person's id."""
    for table in present(connection, POINTS):
        found = connection.execute(
            f"select distinct attributes::json::varchar from {table.name} "
            "where list_contains(json_extract_string(attributes::json, '$.*'), ?)",
            [person],
        ).fetchall()
        for (text,) in found:
            kept = {key: value for key, value in json.loads(text).items() if value != person}
            connection.execute(
                f"update {table.name} set attributes = ?::json::variant "
                "where attributes::json::varchar = ?",
                [json.dumps(kept), text],
            )


def _naming(connection: DuckDBPyConnection, person: str) -> list[str]:
    """The texts of budgets, as rows have them, that match this person by name."""
    texts = connection.execute(
        "select budget from usage_events where budget is not null union "
        "select attributes::json ->> '$.would_refuse' from usage_events "
        "where attributes::json ->> '$.would_refuse' is not null"
    ).fetchall()
    return [text for (text,) in texts if _names(text, person)]


def _names(text: str, person: str) -> bool:
    try:
        return ("user", person) in Budget(text).match
    except BudgetError:
        return False  # the name of a budget


# Segments that were kept aside ----------------------------------------------------------------


def _clean(path: Path, person: str) -> int:
    """Delete the person's lines from a file that DuckDB could not read; how many."""
    lines = path.read_bytes().splitlines(keepends=True)
    theirs = _is_theirs(person)
    heads = {_number(line) for line in lines if line.startswith(b"[") and theirs(line)}
    kept = [line for line in lines if not theirs(line) and _number(line) not in heads]
    if len(kept) < len(lines):
        draft = path.with_name(path.name + ".draft")
        draft.write_bytes(b"".join(kept))
        draft.chmod(0o600)
        sync(draft)
        draft.replace(path)
    return len(lines) - len(kept)


def _is_theirs(person: str) -> Callable[[bytes], bool]:
    """Whether a line has the person's id, in whatever it is quoted."""
    quoted = json.dumps(person, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    doubled = quoted.replace(b'"', b'""')
    return lambda line: b'"' + doubled + b'"' in line or b'"' + quoted + b'"' in line


def _number(line: bytes) -> bytes:
    """Of the head that a line of a segment is, or that it belongs to."""
    return line.partition(b",")[0]
