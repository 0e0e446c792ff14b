"""The Reader: SQL over a store while programs write to it, and nobody is in anybody's way."""

from __future__ import annotations

import errno
import gc
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

import otel_atm as atm
from otel_atm.store.copies import copied
from otel_atm.store.drain import drain
from otel_atm.store.lock import locked
from otel_atm.store.reader import Reader
from tests.store.conftest import Writer, ids_of, rows_of

COUNT = "select count(*) from usage_events"


def count_of(db: atm.Reader) -> int:
    found = db.sql(COUNT).fetchall()
    return int(found[0][0])


@pytest.fixture
def filled(writer: Writer) -> Writer:
    """A store with five rows, of which two are in a segment still."""
    for number in range(3):
        writer.call((number + 1, 10), user=f"u{number}")
    writer.drain()
    writer.call((4, 10), user="u0")
    writer.call((5, 10), user="u1")
    return writer


class TestQueries:
    def test_see_all_that_this_process_wrote(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            assert count_of(db) == 5
            filled.call()
            assert count_of(db) == 6
        assert filled.segments() == []

    def test_see_what_a_dead_process_left(self, filled: Writer, tmp_path: Path) -> None:
        filled.spool.seal()
        kept = shutil.copytree(filled.paths.spool, tmp_path / "other.duckdb.spool")
        assert len(ids_of(tmp_path / "other.duckdb")) == 2
        assert list(kept.iterdir()) == []

    def test_take_parameters_in_order(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            for marks in (("?", "?"), ("$1", "$2")):
                query = (
                    "select sum(input_tokens) from usage_events "
                    "where user_id = {} and input_tokens > {}".format(*marks)
                )
                assert db.sql(query, ["u0", 1]).fetchall() == [(4,)]
                assert db.sql(query, ("u0", 0)).fetchall() == [(5,)]

    def test_take_parameters_by_name(self, filled: Writer) -> None:
        query = "select count(*) from usage_events where user_id = $who or input_tokens = $tokens"
        with atm.connect(filled.paths.database) as db:
            assert db.sql(query, {"who": "u1", "tokens": 3}).fetchall() == [(3,)]

    def test_never_read_a_parameter_as_sql(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            query = "select count(*) from usage_events where user_id = ?"
            assert db.sql(query, ["u0' or '1'='1"]).fetchall() == [(0,)]

    @pytest.mark.parametrize(
        "query",
        [
            "from usage_events",
            "with t as (from usage_events) select count(*) from t",
            "select 1;",
            "select 1 ; \n",
            "select ';' as a -- a comment; with a semicolon",
            "/* before */ select 1",
            "values (1)",
            "from usage_1m",
        ],
    )
    def test_may_be_any_one_query(self, filled: Writer, query: str) -> None:
        with atm.connect(filled.paths.database) as db:
            assert db.sql(query).fetchall()

    def test_give_a_relation_with_all_that_duckdb_offers(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            found = db.sql(
                "select user_id, sum(total_tokens)::bigint as tokens from usage_events "
                "group by all order by all"
            )
        assert found.columns == ["user_id", "tokens"]
        assert found.fetchall() == [("u0", 25), ("u1", 27), ("u2", 13)]
        frame = found.df()
        assert frame.to_dict("list") == {"user_id": ["u0", "u1", "u2"], "tokens": [25, 27, 13]}
        assert found.filter("tokens > 20").aggregate("sum(tokens)").fetchall() == [(52,)]

    def test_give_times_without_a_zone(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            (first,) = db.sql("select min(ts), typeof(min(ts)) from usage_events").fetchall()
        assert first == (datetime(2026, 1, 1), "TIMESTAMP")

    def test_leave_columns_of_one_name_to_the_user(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            found = db.sql("select 1 as a, 2 as b, 3 as c")
            assert found.fetchall() == [(1, 2, 3)]


class TestResults:
    def test_outlive_the_reader(self, filled: Writer) -> None:
        db = atm.connect(filled.paths.database)
        found = db.sql("select event_id from usage_events order by 1")
        db.close()
        del db
        gc.collect()
        assert len(found.fetchall()) == 5
        assert len(found.df()) == 5

    def test_do_not_change_when_more_is_written(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            before = db.sql("from usage_events")
            filled.call()
            after = db.sql("from usage_events")
        assert (len(before.fetchall()), len(after.fetchall())) == (5, 6)

    def test_outlive_the_file(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            found = db.sql("from usage_events")
        filled.paths.database.unlink()
        assert len(found.fetchall()) == 5


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "given"),
        [
            ("select 1; select 2", "SELECT, SELECT"),
            ("delete from usage_events", "DELETE"),
            ("insert into usage_events (event_id) values ('x')", "INSERT"),
            ("drop table usage_events", "DROP"),
            ("create table t as select 1", "CREATE"),
            ("select 1; drop table usage_events", "SELECT, DROP"),
            ("attach 'other.duckdb'", "ATTACH"),
            ("copy usage_events to 'out.csv'", "COPY"),
            ("", "nothing"),
            ("-- only a comment", "nothing"),
        ],
    )
    def test_of_all_that_is_not_one_query(self, filled: Writer, query: str, given: str) -> None:
        with (
            atm.connect(filled.paths.database) as db,
            pytest.raises(atm.StoreError, match=f"one SELECT at a time, not {given}"),
        ):
            db.sql(query)
        assert len(rows_of(filled.paths.database)) == 5

    def test_of_a_query_that_is_wrong_are_duckdbs_own(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            with pytest.raises(duckdb.CatalogException, match="nowhere"):
                db.sql("from nowhere")
            with pytest.raises(duckdb.ParserException):
                db.sql("selec 1")
            with pytest.raises(duckdb.Error):
                db.sql("select ? + 1")
            assert count_of(db) == 5  # and the next one works

    def test_of_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(atm.StoreError, match=r"nowhere\.duckdb' does not exist"):
            atm.connect(tmp_path / "nowhere.duckdb")
        assert list(tmp_path.iterdir()) == []

    def test_of_a_file_that_is_no_duckdb_file(self, writer: Writer) -> None:
        writer.call()
        writer.paths.database.write_text("hello")
        with (
            atm.connect(writer.paths.database) as db,
            pytest.raises(atm.StoreError, match="cannot be read"),
        ):
            db.sql(COUNT)
        assert len(writer.segments()) == 1

    def test_a_query_cannot_change_the_file_by_the_back_door(self, filled: Writer) -> None:
        with (
            atm.connect(filled.paths.database) as db,
            pytest.raises((duckdb.Error, atm.StoreError)),
        ):
            db.sql("with gone as (delete from usage_events returning *) select * from gone")
        assert len(rows_of(filled.paths.database)) == 5


class TestNobodyIsInTheWay:
    def test_an_open_reader_blocks_no_drain(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            found = db.sql("from usage_events")
            filled.call()
            filled.spool.seal()
            assert drain(filled.paths, timeout_s=0) == 1
            with locked(filled.paths.lock, timeout_s=0):
                duckdb.connect(filled.paths.database).close()
        assert len(found.fetchall()) == 5

    def test_two_readers_and_a_writer_work_at_once(self, filled: Writer) -> None:
        together = threading.Barrier(4)

        def read() -> list[int]:
            with atm.connect(filled.paths.database) as db:
                together.wait()
                return [count_of(db) for _ in range(8)]

        def write() -> None:
            together.wait()
            for _ in range(200):
                filled.call()

        def sweep() -> None:
            together.wait()
            for _ in range(8):
                filled.drain()

        with ThreadPoolExecutor(4) as pool:
            work: list[Any] = [pool.submit(job) for job in (read, read, write, sweep)]
            seen = [job.result() for job in work[:2]]
            assert [job.result() for job in work[2:]] == [None, None]
        for counts in seen:
            assert counts == sorted(counts)
            assert counts[0] >= 5
        assert rows_of(filled.paths.database) == filled.expected()
        assert len(filled.expected()) == 205

    def test_readers_of_one_file_do_not_wait_for_each_other(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db:
            assert count_of(db) == 5  # all is drained
            with locked(filled.paths.lock, shared=True):
                assert count_of(db) == 5


class TestWhatCannotBeDrained:
    def test_is_passed_over_with_a_warning(
        self, filled: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise atm.StoreError("the disk is full")

        monkeypatch.setattr("otel_atm.store.reader.drain", refuse)
        assert len(ids_of(filled.paths.database)) == 3
        (record,) = caplog.records
        assert "answering without the newest events" in record.getMessage()

    def test_is_passed_over_whatever_the_reason(
        self, filled: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> int:
            raise duckdb.InvalidInputException("a segment that cannot be read")

        monkeypatch.setattr("otel_atm.store.reader.drain", fail)
        assert len(ids_of(filled.paths.database)) == 3

    def test_is_an_error_where_there_is_no_file_yet(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        writer.call()
        with monkeypatch.context() as patch:
            patch.setattr("otel_atm.store.reader.drain", refuse)
            with (
                atm.connect(writer.paths.database) as db,
                pytest.raises(atm.StoreError, match=r"cannot be written.*Permission denied"),
            ):
                db.sql(COUNT)
        assert len(ids_of(writer.paths.database)) == 1

    @pytest.mark.parametrize("waiting", [True, False])
    def test_a_file_of_a_newer_version_is_refused_and_what_is_spooled_stays(
        self, filled: Writer, caplog: pytest.LogCaptureFixture, waiting: bool
    ) -> None:
        if not waiting:
            filled.drain()
        with duckdb.connect(filled.paths.database) as connection:
            connection.execute("update atm_schema set version = 99")
        with (
            atm.connect(filled.paths.database) as db,
            pytest.raises(atm.StoreError, match=r"newer otel-atm \(schema 99.*update otel-atm"),
        ):
            db.sql(COUNT)
        assert caplog.records == []
        assert len(filled.segments()) == waiting
        with duckdb.connect(filled.paths.database) as connection:
            connection.execute("update atm_schema set version = 2")
        assert len(ids_of(filled.paths.database)) == 5

    def test_says_how_old_the_answer_is(
        self, filled: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        written = filled.paths.database.stat().st_mtime - 3_600
        os.utime(filled.paths.database, (written, written))
        with atm.connect(filled.paths.database) as db, locked(filled.paths.lock, shared=True):
            monkeypatch.setattr("otel_atm.store.reader._PATIENCE_S", 0.01)
            assert count_of(db) == 3
            assert 3_600 <= db.stale_s < 7_200
        (record,) = caplog.records
        assert re.search(r"from 36\d\d s ago: .*locked", record.getMessage())
        with atm.connect(filled.paths.database) as db:
            assert count_of(db) == 5
            assert db.stale_s == 0

    def test_in_a_folder_that_is_read_only_answers_all_the_same(
        self, filled: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.open

        def read_only(path: Any, flags: int, *more: Any, **settings: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, flags, *more, **settings)

        monkeypatch.setattr(os, "open", read_only)
        filled.spool.seal()
        assert len(ids_of(filled.paths.database)) == 3
        filled.paths.lock.unlink()
        assert len(ids_of(filled.paths.database)) == 3


class TestLongQueries:
    @pytest.fixture
    def hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("otel_atm.store.reader._BRIEF_S", 0.05)

    def test_go_on_in_a_copy_and_let_drains_in(
        self, filled: Writer, hasty: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        attached = threading.Event()
        real = Reader._attach_copy

        def attach_copy(db: atm.Reader, memory: Any) -> bool:
            done = real(db, memory)
            attached.set()
            return done

        monkeypatch.setattr(Reader, "_attach_copy", attach_copy)
        query = (
            "select (select count(*) from usage_events) as calls, count(*) as products "
            "from range(4_000) a, range(40_000) b where (a.range * b.range) % 97 = 7"
        )

        def ask() -> list[Any]:
            with atm.connect(filled.paths.database) as db:
                return db.sql(query).fetchall()

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask)
            assert attached.wait(60)
            filled.call()
            filled.spool.seal()
            drain(filled.paths, timeout_s=60)
            assert answer.result()[0][0] == 5
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "tokens.duckdb", "tokens.duckdb.lock", "tokens.duckdb.spool",
        ]  # fmt: skip
        assert len(ids_of(filled.paths.database)) == 6

    def test_keep_the_lock_where_there_is_no_room_for_a_copy(
        self,
        filled: Writer,
        hasty: None,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        usage = shutil.disk_usage(filled.paths.database)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
        query = "select count(*) from range(3_000) a, range(40_000) b where a.range * b.range = 7"
        with atm.connect(filled.paths.database) as db:
            assert db.sql(query).fetchall() == [(2,)]
        (record,) = caplog.records
        assert "no room for a copy" in record.getMessage()

    def test_of_several_threads_each_get_their_own_answer(self, filled: Writer) -> None:
        with atm.connect(filled.paths.database) as db, ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda n: db.sql(f"select {n} + count(*) from usage_events"), range(8))
            assert [each.fetchall() for each in found] == [[(n + 5,)] for n in range(8)]

    def test_copies_of_the_dead_are_deleted(self, filled: Writer) -> None:
        left = filled.paths.database.with_name("tokens.duckdb.1-dead.copy")
        left.write_bytes(b"x")
        with copied(filled.paths.database) as copy:
            assert not left.exists()
            assert copy.read_bytes() == filled.paths.database.read_bytes()
            with copied(filled.paths.database):
                assert copy.exists()
        assert not copy.exists()


HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"


class TestAFileThatSomebodyHasOpen:
    def test_is_named_with_the_process_that_has_it(
        self, filled: Writer, caplog: pytest.LogCaptureFixture
    ) -> None:
        filled.drain()
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(filled.paths.database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            said = rf"process {holder.pid} \(.*python.*\) has it open without otel-atm"
            with (
                atm.connect(filled.paths.database) as db,
                pytest.raises(atm.StoreError, match=rf"cannot be read: {said}"),
            ):
                db.sql(COUNT)
            filled.call()
            with pytest.raises(atm.StoreError, match=rf"cannot be opened: {said}"):
                filled.drain()
        finally:
            holder.communicate("\n")
        assert len(ids_of(filled.paths.database)) == 6

    @pytest.mark.parametrize("read_only", [True, False])
    def test_in_this_very_process_is_said_to_be(self, filled: Writer, read_only: bool) -> None:
        filled.drain()
        with duckdb.connect(filled.paths.database, read_only=read_only):
            filled.call()
            filled.spool.seal()
            with pytest.raises(atm.StoreError, match=r"this very process has it open"):
                drain(filled.paths)
            with atm.connect(filled.paths.database) as db:
                if read_only:
                    assert count_of(db) == 5
                else:
                    with pytest.raises(atm.StoreError, match=r"read: this very process has it"):
                        db.sql(COUNT)
        assert len(ids_of(filled.paths.database)) == 6

    def test_plainly_can_be_read_between_drains(self, filled: Writer) -> None:
        filled.drain()
        with duckdb.connect(filled.paths.database, read_only=True) as plain:
            assert plain.sql(COUNT).fetchall() == [(5,)]
            days = plain.sql("select sum(calls) from usage_by_day('Asia/Kathmandu')").fetchall()
            assert days == [(5,)]


def test_a_spool_alone_is_a_store(writer: Writer) -> None:
    event = writer.call()
    assert not writer.paths.database.exists()
    assert ids_of(writer.paths.database) == [event]


def test_a_store_that_nothing_was_drained_into_yet_is_empty(writer: Writer) -> None:
    writer.call()
    writer.spool.seal()
    writer.segment().unlink()
    assert ids_of(writer.paths.database) == []


@pytest.mark.parametrize("name", ["it's.duckdb", "with space.duckdb", 'dou"ble.db', "żółć", "a;b"])
def test_a_store_may_have_any_name(
    writers: Callable[..., Writer], tmp_path: Path, name: str
) -> None:
    writer = writers(at=tmp_path / name)
    event = writer.call()
    assert ids_of(tmp_path / name) == [event]


def test_a_path_may_be_text_and_relative(
    writers: Callable[..., Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = writers(at=Path("tokens.duckdb"))
    event = writer.call()
    with atm.connect() as db:
        assert db.sql("select event_id from usage_events").fetchall() == [(event,)]
