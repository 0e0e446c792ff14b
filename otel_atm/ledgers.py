"""Ledgers by name: ``auto``, ``memory``, ``sqlite:///file``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from otel_atm.errors import ConfigurationError
from otel_atm.ledger import Ledger, MemoryLedger
from otel_atm.store.store import Store
from otel_atm.trouble import Trouble, logger

_EXPECTED: Final = "expected 'auto', 'memory', 'sqlite:///file' or a Ledger"
_SQLITE: Final = "sqlite:///"


def check_ledger(ledger: object) -> None:
    """Whether `open_ledger` can open it.

    Raises:
        ConfigurationError: it cannot.
    """
    if not isinstance(ledger, str):
        if not hasattr(ledger, "admit"):
            raise ConfigurationError(f"ledger={ledger!r}: {_EXPECTED}")
    elif ledger.partition("://")[0] in ("redis", "rediss"):
        raise ConfigurationError(f"ledger={ledger!r} comes in a later version; {_EXPECTED}")
    elif ledger == _SQLITE:
        raise ConfigurationError(f"ledger={ledger!r}: expected a file after {_SQLITE!r}")
    elif ledger not in ("auto", "memory") and sqlite_file(ledger) is None:
        raise ConfigurationError(f"ledger={ledger!r}: {_EXPECTED}")


def sqlite_file(ledger: str) -> str | None:
    """The file that ``sqlite:///file`` names; None for anything else."""
    path = ledger.removeprefix(_SQLITE)
    return path if path and path != ledger else None


def named_ledger(ledger: str | Ledger[Any], store: Store | None) -> str | Ledger[Any]:
    """What `open_ledger` opens by this name: "memory", or ``sqlite:///`` and a whole path."""
    if not isinstance(ledger, str):
        return ledger
    file = _file(ledger, store)
    return "memory" if file is None else f"{_SQLITE}{os.path.realpath(file)}"


def say_it_stays(ledger: str | Ledger[Any], store: Store | None) -> None:
    """Warn that budgets go on counting in a ledger that is not the one beside the store.

    Args:
        ledger: as of `named_ledger`.
        store: the new one; None: nothing is kept any more.
    """
    where = "memory" if ledger == "memory" else str(ledger).removeprefix(_SQLITE)
    logger.warning(
        "otel-atm: rows go to %s from now on, but budgets go on counting in %s, where calls in "
        "flight are held. To count %s, shut the handle down and call init again; to stay, and say "
        "so, give ledger=%r",
        "no file" if store is None else store.paths.database,
        where,
        "in memory" if store is None else f"in {store.paths.ledger}",
        ledger,
    )


def open_ledger(ledger: str | Ledger[Any], store: Store | None, trouble: Trouble) -> Ledger[Any]:
    """The ledger of this name; a Ledger is taken as it is.

    Args:
        ledger: see `check_ledger`. "auto" is a file beside the store where there is one, so that
            several processes share it and it survives a restart; else memory.
        store: that keeps the rows.
        trouble: counts what fails.
    """
    if not isinstance(ledger, str):
        return ledger
    path = _file(ledger, store)
    return MemoryLedger() if path is None else _sqlite(path, trouble)


def _file(ledger: str, store: Store | None) -> str | Path | None:
    """The file of the ledger of this name; None: it is in memory."""
    if ledger == "auto" and store is not None:
        return store.paths.ledger
    return sqlite_file(ledger)


def _sqlite(path: str | Path, trouble: Trouble) -> Ledger[Any]:
    # Only who shares a file needs sqlite3.
    from otel_atm.ledger.leased import LeasedLedger
    from otel_atm.ledger.sqlite import SqliteStore

    return LeasedLedger(SqliteStore(path), note=trouble.note)
