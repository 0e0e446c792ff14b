"""Files: whether the store and the ledger can be used, and whether the clock is right."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from otel_atm.coverage.diagnosis import Finding
from otel_atm.errors import AtmError
from otel_atm.ledger.operator import Operator
from otel_atm.ledger.sqlite import SqliteStore
from otel_atm.store.paths import StorePaths

#: What a DuckDB file has at its byte 8.
_DUCKDB: Final = b"DUCK"
#: Nobody has run this before.
_FIRST_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
#: How far two clocks may be apart, e.g. of this host and of a file server.
_APART_S: Final = 60
_OTHER: Final = "name another file, or make this one fit to be used"


def files(store: StorePaths | None, ledger: Path | None, now_s: float) -> Iterator[Finding]:
    """The store, the ledger and the clock.

    Args:
        store: None: nothing is kept.
        ledger: None: it is in memory.
        now_s: seconds since the Unix epoch.
    """
    if store is not None:
        yield _store(store)
    if ledger is not None:
        yield _ledger(ledger)
    looked_at = [] if store is None else [store.database, store.spool]
    yield _clock(now_s, looked_at + ([] if ledger is None else [ledger]))


def _store(paths: StorePaths) -> Finding:
    path = paths.database
    if (problem := _unwritable(path)) is not None:
        return Finding(
            "file", "store", "broken", problem, "name another file, or give the right to it"
        )
    if not path.exists():
        return Finding("file", "store", "fine", f"{path}: not there yet; it can be made")
    with path.open("rb") as file:
        if file.read(12)[8:] != _DUCKDB:
            return Finding("file", "store", "broken", f"{path}: no DuckDB file", _OTHER)
    return Finding("file", "store", "fine", f"{path}: it can be written to")


def _ledger(path: Path) -> Finding:
    if (problem := _unwritable(path)) is not None:
        return Finding(
            "file", "ledger", "broken", problem, "name another file, or give the right to it"
        )
    if not path.exists():
        return Finding("file", "ledger", "fine", f"{path}: not there yet; it can be made")
    try:
        with Operator(SqliteStore(path)) as operator:
            many, stopped = len(operator.budgets), operator.stopped
    except (AtmError, OSError) as error:
        return Finding("file", "ledger", "broken", f"{path}: cannot be read: {error}", _OTHER)
    why = f"{path}: it answers, with {many} budget{'s' * (many != 1)}"
    do = "it stops every call: otel-atm budgets resume" if stopped else ""
    return Finding("file", "ledger", "fine", why, do)


def _clock(now_s: float, paths: Iterable[Path]) -> Finding:
    now = datetime.fromtimestamp(now_s, UTC)
    said = f"it says {now:%Y-%m-%d %H:%M:%S} UTC"
    if now < _FIRST_DAY:
        return Finding("file", "clock", "broken", said, "set it: windows end by it")
    for path in paths:
        if path.exists() and path.stat().st_mtime > now_s + _APART_S:
            why = f"{said}, and {path.name} was written later than that"
            return Finding("file", "clock", "broken", why, "set it: windows end by it")
    return Finding("file", "clock", "fine", said)


def _unwritable(path: Path) -> str | None:
    """Why a file, and what lies beside it, cannot be written; None if it can."""
    folder = path.parent
    if not folder.is_dir():
        folder_above = next(above for above in (folder, *folder.parents) if above.exists())
        if folder_above.is_dir() and os.access(folder_above, os.W_OK | os.X_OK):
            return None  # it is made when it is first needed
        return f"the folder {folder} is not there, and cannot be made"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"nothing can be written in {folder}"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return "it cannot be written to"
    return None
