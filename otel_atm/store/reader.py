"""The Reader: SQL over a store while programs write to it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final

from otel_atm.errors import StoreError
from otel_atm.store.copies import copied
from otel_atm.store.drain import create, drain
from otel_atm.store.files import literal
from otel_atm.store.lock import locked
from otel_atm.store.mishaps import in_short
from otel_atm.store.opening import (
    OFFLINE,
    NewerFileError,
    duckdb_module,
    explained,
    quieten,
    statements,
    version_of,
)
from otel_atm.store.paths import StorePaths
from otel_atm.store.spool import seal_own
from otel_atm.store.unread import UnreadError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_Params = Sequence[object] | Mapping[str, object] | None

_logger: Final = logging.getLogger("otel_atm")
#: How long a query keeps drains waiting; then it starts again in a copy of the file.
_BRIEF_S: Final = 2.0
#: How long a query waits for others' queries to end before it goes without the newest events:
#: longer than they may take.
_PATIENCE_S: Final = 5.0


class Reader:
    """Answers SQL over ``usage_events``, ``usage_1m`` and ``usage_1h``.

    Each query takes in what this process and dead ones have spooled, opens the DuckDB file for as
    long as it runs, and leaves its result in memory: nothing stays open, so nobody is blocked by a
    notebook. Rows of other running processes appear within a second. Threads may share one.

    Args:
        path: of the DuckDB file.

    Attributes:
        stale_s: how old the answer of the last query may be, in seconds: 0.0 if all that was
            spooled was taken in first; else how long ago the file was last written. Why is logged
            as a warning.

    Raises:
        StoreError: there is no such file, and nothing spooled for it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._paths = StorePaths.of(path)
        self.stale_s = 0.0
        self._warned: str | None = None
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
        duckdb = duckdb_module()
        _check(query)
        self._take_in()
        memory: DuckDBPyConnection = duckdb.connect(":memory:", config=dict(OFFLINE))
        quieten(memory)
        statement = f"create temp table result as (\n{query.rstrip().rstrip(';')}\n)"
        with ExitStack() as lock:
            lock.enter_context(_reading(self._paths))
            try:
                self._attach(memory)
                if not _runs_within(_BRIEF_S, memory, statement, params):
                    if self._attach_copy(memory):
                        lock.close()
                    memory.execute(statement, params)
                _detach(memory)
            except BaseException:
                memory.close()  # an error keeps it alive, and it has the file open
                raise
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
            missing = self._drain()
            if not self._paths.database.exists():  # a program that has had no call yet
                create(self._paths)
        except NewerFileError:
            raise
        except (OSError, StoreError, duckdb.Error) as error:
            if not self._paths.database.exists():
                raise StoreError(f"{self._paths.database} cannot be written: {error}") from error
            missing = in_short(error, self._paths.database)
        if missing is None:
            self.stale_s, self._warned = 0.0, None
        else:
            self._warn(missing)

    def _drain(self) -> Exception | None:
        """Take in what can be read; tell why the rest cannot."""
        try:
            drain(self._paths, timeout_s=_PATIENCE_S)
        except UnreadError as error:
            return error
        return None

    def _warn(self, reason: Exception) -> None:
        """Say why rows are missing; once for all queries for which it is the same."""
        self.stale_s = max(0.0, time.time() - self._paths.database.stat().st_mtime)
        if str(reason) != self._warned:
            self._warned = str(reason)
            _logger.warning(
                "otel-atm: answering without the newest events, from %.0f s ago: %s",
                self.stale_s,
                reason,
            )

    def _attach(self, memory: DuckDBPyConnection, copy: os.PathLike[str] | None = None) -> None:
        import duckdb

        database = self._paths.database
        try:
            memory.execute(f"attach {literal(copy or database)} as store (read_only)")
        except duckdb.Error as error:
            raise StoreError(explained(database, error, "read")) from error
        version = version_of(memory, database, "store")
        memory.execute("use store")
        if version == 1:  # nothing was drained since, perhaps since nobody may write
            for statement in statements("read_1.sql"):
                memory.execute(statement)
            for macro in statements("macros.sql"):
                memory.execute(macro.replace("create macro", "create temp macro"))

    def _attach_copy(self, memory: DuckDBPyConnection) -> bool:
        """Instead of the file; False if there is no room for it."""
        _detach(memory)
        try:
            with copied(self._paths.database) as copy:
                self._attach(memory, copy)
        except OSError as error:
            _logger.warning("otel-atm: drains wait for a long query: %s", error)
            self._attach(memory)
            return False
        return True


@contextmanager
def _reading(paths: StorePaths) -> Iterator[None]:
    """Hold the lock together with other readers, as far as one may in this folder."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(paths.lock, shared=True))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            with suppress(FileNotFoundError):  # nobody has ever written here with our lock
                descriptor = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
                held.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


def _runs_within(
    limit_s: float, connection: DuckDBPyConnection, statement: str, params: _Params
) -> bool:
    """Run a statement to its end, or break it off when its time is up: False."""
    import duckdb

    up = threading.Event()

    def stop() -> None:
        up.set()
        connection.interrupt()

    timer = threading.Timer(limit_s, stop)
    timer.daemon = True
    timer.start()
    try:
        connection.execute(statement, params)
    except duckdb.InterruptException:
        if not up.is_set():
            raise
        return False
    finally:
        timer.cancel()
        timer.join()  # so that it stops nothing that comes after
    return True


def _detach(connection: DuckDBPyConnection) -> None:
    connection.execute("use memory")
    connection.execute("detach store")


def _check(query: str) -> None:
    import duckdb

    kinds = [statement.type for statement in duckdb.extract_statements(query)]
    if kinds != [duckdb.StatementType.SELECT]:
        given = ", ".join(kind.name for kind in kinds) or "nothing"
        raise StoreError(f"a Reader runs one SELECT at a time, not {given}: {query.strip()!r}")
