"""Compact: a smaller file with the same rows, and a whole file whenever it is killed."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

import otel_atm as atm
from otel_atm.store import compact as compacting
from otel_atm.store.compact import compact
from otel_atm.store.lock import locked
from otel_atm.store.opening import OFFLINE
from otel_atm.store.paths import StorePaths
from otel_atm.store.retention import prune
from tests.store import compacter
from tests.store.conftest import Writer, assert_roll_ups_add_up, ids_of, rows_of

ROOT = Path(atm.__file__).parent.parent
HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reads")
print("open", flush=True)
sys.stdin.read()
"""


def fill(path: Path, rows: int, *, days: int = 10) -> None:
    """Put copies of the row that is there into a file, over some days."""
    with duckdb.connect(path) as connection:
        connection.execute(
            "insert into usage_events select * exclude (i) replace (uuidv7()::varchar as event_id, "
            "uuid()::varchar as trace_id, ts - to_days((i % $days)::integer) as ts) "
            "from (from usage_events limit 1), range($rows) as r(i)",
            {"rows": rows, "days": days},
        )


def everything(path: Path) -> list[Any]:
    """What a plain reader finds in a file: tables with their rows, and the texts of views."""
    with duckdb.connect(path, read_only=True) as connection:
        tables = connection.execute("select table_name from duckdb_tables() order by 1").fetchall()
        rows = [
            (table, connection.execute(f'from "{table}" order by all').fetchall())
            for (table,) in tables
        ]
        views = connection.execute(
            "select view_name, sql from duckdb_views() where not internal order by 1"
        ).fetchall()
        # DuckDB writes what is excluded from a star in any order.
        return [rows, [(name, sorted(re.findall(r"\w+", sql))) for name, sql in views]]


def beside(path: Path) -> list[str]:
    """Files of the store, by the ends of their names."""
    return sorted(each.name.removeprefix(path.name) for each in path.parent.glob(f"{path.name}*"))


@pytest.fixture
def filled(writer: Writer) -> Writer:
    """With rows, a corrected one, a second segment, and rows that were deleted."""
    span = writer.start()
    writer.call(user="ann", department="finance", tags=["a", "b"])
    writer.lose()
    writer.drain()
    writer.end(span, (5, 5))
    writer.call((1, 2), user="bob", error="openai.RateLimitError")
    writer.drain()
    return writer


def test_the_file_gets_smaller_and_says_the_same(filled: Writer, path: Path) -> None:
    fill(path, 60_000)
    last = datetime.fromtimestamp(filled.clock() / 1e9)
    prune(filled.paths, "1 day", now=last + timedelta(days=1))
    before = everything(path)
    size = path.stat().st_size
    done = compact(filled.paths)
    assert (done.before, done.after) == (size, path.stat().st_size)
    assert done.after < 0.7 * size
    assert everything(path) == before
    assert beside(path) == ["", ".lock", ".spool"]


def test_what_is_spooled_is_taken_in_first(filled: Writer, path: Path) -> None:
    filled.call()
    compact(filled.paths)
    assert rows_of(path) == filled.expected()
    assert_roll_ups_add_up(path)


def test_afterwards_it_goes_on(filled: Writer, path: Path) -> None:
    compact(filled.paths)
    filled.call()
    filled.drain()
    compact(filled.paths)
    assert rows_of(path) == filled.expected()
    assert_roll_ups_add_up(path)


def test_mode_and_owner_stay(filled: Writer, path: Path) -> None:
    path.chmod(0o640)
    if os.getuid() == 0:
        os.chown(path, 1, 2)
    before = path.stat()
    compact(filled.paths)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert after.st_ino != before.st_ino


def test_progress_is_told_from_nothing_to_all(
    filled: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "_LOOK_S", 0.001)
    fill(path, 60_000)
    told: list[float] = []
    compact(filled.paths, progress=told.append)
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_without_a_file_there_is_nothing_to_compact(path: Path) -> None:
    with pytest.raises(atm.StoreError, match="does not exist: there is nothing to compact"):
        compact(StorePaths.of(path))
    assert beside(path) == []


def test_a_store_that_is_only_a_spool_becomes_a_file(writer: Writer, path: Path) -> None:
    writer.call()
    compact(writer.paths)
    assert rows_of(path) == writer.expected()


def test_without_room_nothing_is_begun(
    filled: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(free=5_000_000))
    inode = path.stat().st_ino
    with pytest.raises(atm.StoreError, match=r"has 5 MB free; a compact copy may take \d\d MB"):
        compact(filled.paths)
    assert path.stat().st_ino == inode
    assert rows_of(path) == filled.expected()
    assert beside(path) == ["", ".lock", ".spool"]


class _Usage(NamedTuple):
    free: int


def test_a_copy_that_fails_leaves_the_file_as_it_was(
    filled: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compacting, "sync", full)
    before = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        compact(filled.paths)
    assert path.read_bytes() == before
    assert beside(path) == ["", ".lock", ".spool"]


class TestOthers:
    """Who has the file open meanwhile."""

    @pytest.fixture(params=["writes", "reads"])
    def holder(
        self, request: pytest.FixtureRequest, filled: Writer
    ) -> Iterator[subprocess.Popen[str]]:
        """A process that has the file open without us."""
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(filled.paths.database), request.param],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.communicate()

    def test_a_process_that_has_the_file_open_is_named(
        self, filled: Writer, path: Path, holder: subprocess.Popen[str]
    ) -> None:
        with pytest.raises(atm.StoreError, match=str(holder.pid)):
            compact(filled.paths)
        holder.communicate()
        compact(filled.paths)
        assert rows_of(path) == filled.expected()

    def test_a_connection_of_this_process_is_noticed(self, filled: Writer, path: Path) -> None:
        with duckdb.connect(path), pytest.raises(atm.StoreError, match="cannot be"):
            compact(filled.paths)

    def test_one_that_shares_our_settings_is_noticed_too(self, filled: Writer, path: Path) -> None:
        shared = duckdb.connect(path, config=dict(OFFLINE))
        with shared, pytest.raises(atm.StoreError, match="this very process has it open"):
            compact(filled.paths)

    def test_it_waits_for_a_query_but_not_for_ever(self, filled: Writer) -> None:
        with (
            locked(filled.paths.lock, shared=True),
            pytest.raises(atm.StoreError, match="was locked for more than"),
        ):
            compact(filled.paths, timeout_s=0)

    def test_a_drain_in_the_midst_of_it_waits_and_finds_the_new_file(
        self, filled: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drains: list[threading.Thread] = []
        copy = compacting._copy

        def copy_meanwhile(*arguments: Any) -> None:
            filled.call()
            drains.append(threading.Thread(target=filled.drain))
            drains[0].start()
            copy(*arguments)

        monkeypatch.setattr(compacting, "_copy", copy_meanwhile)
        compact(filled.paths)
        drains[0].join()
        assert rows_of(path) == filled.expected()
        assert_roll_ups_add_up(path)

    def test_a_foreign_file_is_refused(self, path: Path) -> None:
        path.write_bytes(b"no database" * 1_000)
        with pytest.raises(atm.StoreError, match="cannot be opened"):
            compact(StorePaths.of(path))
        assert path.read_bytes() == b"no database" * 1_000


# Killed --------------------------------------------------------------------------------------


class Dying:
    """Programs that compact a store, and are killed or not."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, compacter.__file__, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def steps(self) -> int:
        """How many there are, when nobody is killed."""
        return -self._run(-1)

    def die_at(self, step: int) -> None:
        assert self._run(step) == signal.SIGKILL

    def _run(self, step: int) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(step, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def dying(path: Path) -> Iterator[Dying]:
    programs = Dying(path)
    yield programs
    programs.close()


def test_killed_before_any_step_the_file_is_whole(filled: Writer, path: Path, dying: Dying) -> None:
    filled.call()
    filled.spool.seal()
    steps = dying.steps()
    assert steps > 20
    for step in [*range(0, steps - 20, 5), *range(steps - 20, steps)]:  # the last ones touch files
        filled.call()
        filled.spool.seal()
        dying.die_at(step)
        assert everything(path), "the file can be opened as it is"
    assert rows_of(path) == filled.expected()
    assert_roll_ups_add_up(path)
    compact(filled.paths)
    assert rows_of(path) == filled.expected()
    assert beside(path) == ["", ".lock", ".spool"]


def test_killed_at_random_moments_of_a_copy_nothing_is_lost(filled: Writer, path: Path) -> None:
    fill(path, 60_000)
    ids, chance = ids_of(path), random.Random(7)
    code = "import sys; from otel_atm.housekeeping import compact; compact(sys.argv[1])"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        copy = compacting._copy_of(path)
        size = chance.randrange(4_000_000)
        while process.poll() is None and (not copy.exists() or _size(copy) < size):
            os.sched_yield()
        process.kill()
        process.wait()
        assert ids_of(path) == ids
    compact(filled.paths)
    assert ids_of(path) == ids
    assert beside(path) == ["", ".lock", ".spool"]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 1 << 60  # it has come to its name
