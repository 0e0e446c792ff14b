"""Data managers: agent-atm's names for where budgets and rows are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from otel_atm.errors import ConfigurationError

_EXPECTED: Final = "expected 'memory', 'sqlite' or 'duckdb'"
_DEFAULTS: Final = {"sqlite": "agent_atm.db", "duckdb": "tokens.duckdb"}


def read_manager(
    data_manager: str, db_path: str | os.PathLike[str] | None
) -> tuple[str, str | None]:
    """The ledger and the store that a data manager stands for.

    ============  ===============================================  =============================
    data_manager  budgets                                          rows
    ============  ===============================================  =============================
    ``memory``    of this process, from zero                       none
    ``duckdb``    SQLite beside the store, of all processes        ``db_path``
    ``sqlite``    the same                                         ``db_path``, as ``.duckdb``
    ============  ===============================================  =============================

    A file of agent-atm that lies at `db_path` is not touched.

    Args:
        data_manager: its name.
        db_path: of a file; None: ``agent_atm.db`` or ``tokens.duckdb``.

    Raises:
        ConfigurationError: no such name, or no path for it.
    """
    if not isinstance(data_manager, str):
        raise ConfigurationError(f"data_manager={data_manager!r}: {_EXPECTED}")
    if data_manager == "memory":
        if db_path is not None:
            raise ConfigurationError(f"db_path={db_path!r}: data_manager='memory' keeps no file")
        return "memory", None
    if data_manager == "remote":
        raise ConfigurationError(
            "data_manager='remote' comes with the server, in a later version; " + _EXPECTED
        )
    if data_manager not in _DEFAULTS:
        raise ConfigurationError(f"data_manager={data_manager!r}: {_EXPECTED}")
    path = Path(db_path if db_path is not None else _DEFAULTS[data_manager])
    if not path.name:
        raise ConfigurationError(f"db_path={db_path!r}: expected the path of a file")
    if data_manager == "sqlite":
        path = path.with_suffix(".duckdb")
    return "auto", str(path)
