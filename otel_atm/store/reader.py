"""The Reader: SQL over a store while programs write to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final

from otel_atm.errors import StoreError
from otel_atm.late import late_import
from otel_atm.store.drain import create, drain
from otel_atm.store.opening import OFFLINE
from otel_atm.store.lock import locked
from otel_atm.store.paths import StorePaths
from otel_atm.store.spool import seal_own

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_logger: Final = logging.getLogger("otel_atm")
#: How long a query waits for others' queries to end before it goes without the newest events.
_PATIENCE_S: Final = 2.0


class Reader:
    """Answers SQL over ``usage_events`` and ``usage_1m``.

    Each query takes in what this process and dead ones have spooled, opens the DuckDB file for as
    long as it runs, and leaves its result in memory: nothing stays open, so nobody is blocked by a
    notebook. Rows of other running processes appear within a second.

    Args:
        path: of the DuckDB file.

    Raises:
        StoreError: there is no such file, and nothing spooled for it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._paths = StorePaths.of(path)
        if not self._paths.database.exists() and not self._paths.spool.exists():
            raise StoreError(
                f"{str(path)!r} does not exist; expected the DuckDB file of a program that uses "
                "otel-atm (the `store` of otel_atm.init)"
            )

    def sql(
        self, query: str, params: Sequence[object] | Mapping[str, object] | None = None
    ) -> DuckDBPyRelation:
        """Run one query; the result is a DuckDB relation in memory.

        Args:
            query: one SELECT (or FROM, WITH …) statement.
            params: for ``?``/``$1`` (a sequence) or ``$name`` (a mapping) in it.

        Returns:
            A relation: ``.df()``, ``.pl()``, ``.fetchall()`` and all else that DuckDB offers.

        Raises:
            StoreError: the file cannot be opened, or `query` is not one query.
            duckdb.Error: as DuckDB reports a query that is wrong.
        """
        with late_import():
            import duckdb  # 0.3 s; see otel_atm.store.drain

        _check(query)
        self._take_in()
        memory = duckdb.connect(":memory:", config=dict(OFFLINE))
        with locked(self._paths.lock, shared=True):
            try:
                memory.execute(f"attach {_literal(self._paths.database)} as store (read_only)")
            except duckdb.Error as error:
                raise StoreError(f"{self._paths.database} cannot be read: {error}") from error
            try:
                memory.execute("use store")
                memory.execute(
                    f"create temp table result as (\n{query.rstrip().rstrip(';')}\n)",
                    params,
                )
            finally:
                memory.execute("use memory")
                memory.execute("detach store")
        return memory.table("temp.result")

    def close(self) -> None:
        """Nothing is open between queries; results that were given out stay usable."""

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take_in(self) -> None:
        import duckdb

        seal_own(self._paths.spool)
        try:
            drain(self._paths, timeout_s=_PATIENCE_S)
            if not self._paths.database.exists():  # a program that has had no call yet
                create(self._paths)
        except (OSError, StoreError, duckdb.Error) as error:
            if not self._paths.database.exists():
                raise StoreError(f"{self._paths.database} cannot be written: {error}") from error
            # Of DuckDB's errors only the type: they may quote a line, and so a user.
            reason = type(error).__name__ if isinstance(error, duckdb.Error) else error
            _logger.warning("otel-atm: answering without the newest events: %s", reason)


def _check(query: str) -> None:
    import duckdb

    kinds = [statement.type for statement in duckdb.extract_statements(query)]
    if kinds != [duckdb.StatementType.SELECT]:
        given = ", ".join(kind.name for kind in kinds) or "nothing"
        raise StoreError(f"a Reader runs one SELECT at a time, not {given}: {query.strip()!r}")


def _literal(path: object) -> str:
    text = str(path).replace("'", "''")
    return f"'{text}'"
