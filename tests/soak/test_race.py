"""The race of DuckDB 2.0.0, made long: without our lock it loses commits, with it none.

DuckDB reads the file's root pointers before it locks the file. A shim that is preloaded into a
process holds it there, until this test lets it go on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

import otel_atm as atm
from otel_atm.errors import StoreError
from otel_atm.store.drain import drain
from otel_atm.store.lock import locked
from tests.store.conftest import Writer, ids_of

SHIM = Path(__file__).with_name("late_lock.c")
ROOT = Path(atm.__file__).parent.parent
PATIENCE_S = 60

ALONE = """
import sys, duckdb
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute("insert into acknowledged values ('late')")
"""
WITH_OURS = """
import sys
from otel_atm.store.drain import drain
from otel_atm.store.paths import StorePaths
drain(StorePaths.of(sys.argv[1]))
"""

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or not sys.platform.startswith("linux"),
    reason="needs gcc, and a loader that preloads",
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "late_lock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], check=True)
    return library


@contextmanager
def halfway(source: str, path: Path, shim: Path) -> Iterator[Callable[[], None]]:
    """A process that has read the root pointers of a file and not locked it; lets it go on."""
    late = path.with_name("late")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(shim)}
    with subprocess.Popen(
        [sys.executable, "-c", source, str(path)], env={**environment, "ATM_LATE": str(late)}
    ) as process:
        until = time.monotonic() + PATIENCE_S
        while not late.exists():
            assert process.poll() is None, "it did not come by the lock"
            assert time.monotonic() < until
            time.sleep(0.01)

        def let_go() -> None:
            late.unlink()
            assert process.wait(PATIENCE_S) == 0

        try:
            yield let_go
        finally:
            late.unlink(missing_ok=True)
            process.wait(PATIENCE_S)


def test_duckdb_alone_loses_what_was_committed_meanwhile(path: Path, shim: Path) -> None:
    """If this fails, DuckDB has been mended, or the shim does not bite any more."""
    with duckdb.connect(path) as connection:
        connection.execute("create table acknowledged (who varchar)")
    with halfway(ALONE, path, shim) as let_go:
        with duckdb.connect(path) as connection:
            connection.execute("insert into acknowledged values ('early')")
        let_go()
    with duckdb.connect(path, read_only=True) as connection:
        assert connection.execute("from acknowledged").fetchall() == [("late",)]


def test_through_our_lock_nothing_is_lost(writer: Writer, shim: Path) -> None:
    events = [writer.call()]
    writer.drain()  # there is a file with a root
    events.append(writer.call())
    writer.spool.seal()
    with halfway(WITH_OURS, writer.paths.database, shim) as let_go:
        events.append(writer.call())
        writer.spool.seal()
        with pytest.raises(StoreError, match="was locked"):
            drain(writer.paths, timeout_s=0.1)  # nobody comes in between
        with (
            pytest.raises(StoreError, match="was locked"),
            locked(writer.paths.lock, shared=True, timeout_s=0),
        ):
            pass
        let_go()
    assert ids_of(writer.paths.database) == events
