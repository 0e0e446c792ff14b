"""The drain: what was spooled is in the file exactly once, whatever dies where."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import Span

import otel_atm as atm
from otel_atm.event import TEXT_LENGTH
from otel_atm.store.drain import drain, has_segments, spooled_bytes
from otel_atm.store.lock import locked
from otel_atm.store.paths import StorePaths
from otel_atm.testing import ManualClock
from tests.store.conftest import Writer, assert_roll_ups_add_up, ids_of, query, rows_of


class Crash(BaseException):
    """The process dies here, as far as the code around can see."""


class Dying:
    """A DuckDB connection of a process that dies at its n-th statement."""

    def __init__(self, connection: Any, moments: Iterator[int], death: int) -> None:
        self._connection, self._moments, self._death = connection, moments, death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def begin(self) -> Any:
        return self._live(self._connection.begin)

    def commit(self) -> Any:
        return self._live(self._connection.commit)

    def execute(self, *arguments: Any) -> Any:
        return self._live(self._connection.execute, *arguments)

    def _live(self, step: Callable[..., Any], *arguments: Any) -> Any:
        if next(self._moments) == self._death:
            raise Crash
        return step(*arguments)


@contextmanager
def dying_at(monkeypatch: pytest.MonkeyPatch, death: int) -> Iterator[Iterator[int]]:
    """Let DuckDB connections die at that statement, counted from 0."""
    real, moments = duckdb.connect, count()

    def connect(*arguments: Any, **settings: Any) -> Any:
        return Dying(real(*arguments, **settings), moments, death)

    with monkeypatch.context() as patch:
        patch.setattr(duckdb, "connect", connect)
        yield moments


def spooled(writer: Writer, number: int = 3) -> list[str]:
    """Events in as many sealed segments."""
    events = []
    for each in range(number):
        events.append(writer.call((each + 1, 2), user=f"u{each}"))
        writer.spool.seal()
    return events


class TestTakingIn:
    def test_makes_the_file_and_removes_the_segments(self, writer: Writer) -> None:
        events = spooled(writer)
        assert has_segments(writer.paths)
        assert spooled_bytes(writer.paths) == sum(s.stat().st_size for s in writer.segments())
        assert drain(writer.paths) == 3
        assert writer.segments() == []
        assert not has_segments(writer.paths)
        assert spooled_bytes(writer.paths) == 0
        assert ids_of(writer.paths.database) == events

    def test_of_nothing_makes_no_file(self, writer: Writer, tmp_path: Path) -> None:
        assert drain(writer.paths) == 0
        assert list(tmp_path.iterdir()) == []

    def test_keeps_every_column(self, writers: Callable[..., Writer]) -> None:
        writer = writers("1 request / month where user=bob")
        writer.call((11, 7, 4, 2, 3), user="ann", session="s", app="bot", env="prod", team="ml")
        writer.clock.advance(61.000001)
        writer.call((5, 6), user="ann", tags=["b", "a"], department="finance", floor=3)
        writer.call((), user="ann")
        writer.call((), error="openai.RateLimitError")
        writer.call((), error="asyncio.CancelledError")
        writer.call(user="bob")
        with pytest.raises(atm.TokenQuotaExceeded):
            writer.call(user="bob")
        writer.start()
        writer.lose()
        writer.drain()
        rows = rows_of(writer.paths.database)
        assert rows == writer.expected()
        assert [row["status"] for row in rows] == [
            "ok", "ok", "ok", "error", "cancelled", "ok", "error", "lost",
        ]  # fmt: skip
        assert_roll_ups_add_up(writer.paths.database)

    def test_adds_to_what_is_there(self, writer: Writer) -> None:
        for _ in range(4):
            spooled(writer)
            assert drain(writer.paths) == 3
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)

    def test_leaves_other_files_in_the_folder_alone(self, writer: Writer) -> None:
        events = spooled(writer)
        note = writer.paths.spool / "README.txt"
        note.write_text("[not a segment")
        drain(writer.paths)
        assert note.read_text() == "[not a segment"
        assert ids_of(writer.paths.database) == events

    def test_by_many_at_once_takes_each_event_in_once(self, writer: Writer) -> None:
        spooled(writer, 20)
        together = threading.Barrier(6)

        def rush(_: int) -> int:
            together.wait()
            return drain(writer.paths)

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(rush, range(6))) == 20
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)


class TestDyingOnTheWay:
    def test_before_the_commit_leaves_all_to_the_next(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spooled(writer)
        drain(writer.paths)
        with dying_at(monkeypatch, -1) as moments:
            spooled(writer)
            drain(writer.paths)
            statements = next(moments)
        assert statements > 10
        last = range(statements - 5, statements)  # the commit, and the steps right before it
        deaths = [*range(0, statements - 5, 2), *last]
        for death in deaths:
            spooled(writer, 2)
            waiting = writer.segments()
            with dying_at(monkeypatch, death), pytest.raises(Crash):
                drain(writer.paths)
            assert writer.segments() == waiting
        assert drain(writer.paths) == 2 * len(deaths)
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)

    def test_in_the_very_first_one_leaves_all_to_the_next(
        self, writers: Callable[..., Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for death in (0, 3, 6, 8, 9, 15):
            writer = writers(at=tmp_path / f"{death}.duckdb")
            spooled(writer, 1)
            with dying_at(monkeypatch, death), pytest.raises(Crash):
                drain(writer.paths)
            assert drain(writer.paths) == 1
            assert rows_of(writer.paths.database) == writer.expected()
            assert_roll_ups_add_up(writer.paths.database)

    @pytest.mark.parametrize("survivors", [1, 2, 3])
    def test_after_the_commit_changes_nothing_the_next_time(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch, survivors: int
    ) -> None:
        spooled(writer)
        real, left = Path.unlink, [3 - survivors]

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if not left[0]:
                raise Crash
            left[0] -= 1
            real(path, missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            with pytest.raises(Crash):
                drain(writer.paths)
        assert len(writer.segments()) == survivors
        spooled(writer)
        assert drain(writer.paths) == 3  # the new ones
        assert writer.segments() == []
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)

    def test_after_the_commit_again_and_again_changes_nothing(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unlink(path: Path, missing_ok: bool = False) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

        spooled(writer)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            for _ in range(3):
                with pytest.raises(PermissionError):
                    drain(writer.paths)
                spooled(writer, 1)
        drain(writer.paths)
        assert writer.segments() == []
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)


class TestRevisions:
    def late(self, writer: Writer, **scope: Any) -> Span:
        """A call that was written off."""
        span = writer.start(**scope)
        writer.lose()
        writer.spool.seal()
        return span

    def test_the_higher_one_takes_the_place_of_the_lower_one(self, writer: Writer) -> None:
        span = self.late(writer, user="ann")
        writer.drain()
        assert [row["status"] for row in rows_of(writer.paths.database)] == ["lost"]
        writer.clock.advance(3_600)
        writer.end(span, (11, 7))
        assert writer.drain() == 1
        (row,) = rows_of(writer.paths.database)
        assert (row["status"], row["revision"], row["total_tokens"]) == ("ok", 1, 18)
        assert [row] == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)

    def test_both_may_come_in_one_drain(self, writer: Writer) -> None:
        writer.end(self.late(writer))
        assert writer.drain() == 1
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)

    def test_the_lower_one_may_come_last(self, writer: Writer, tmp_path: Path) -> None:
        span = self.late(writer)
        lower = shutil.move(writer.segment(), tmp_path / "kept back")
        writer.end(span)
        writer.drain()
        shutil.move(lower, writer.paths.spool / "00-late.segment")
        assert drain(writer.paths) == 0
        (row,) = rows_of(writer.paths.database)
        assert row["revision"] == 1
        assert [row] == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)

    def test_an_equal_one_changes_nothing(self, writer: Writer) -> None:
        spooled(writer)
        for segment in writer.segments():
            shutil.copy(segment, segment.with_name(f"copy-of-{segment.name}"))
        copies = [s for s in writer.segments() if s.name.startswith("copy")]
        for copy in copies[1:]:
            shutil.copy(copy, writer.paths.database.with_name(copy.name))
        assert drain(writer.paths) == 3
        for copy in copies[1:]:
            shutil.move(
                writer.paths.database.with_name(copy.name), copy.with_name(f"2-{copy.name}")
            )
        assert drain(writer.paths) == 0
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)

    def test_roll_ups_get_the_difference_where_the_call_was_admitted(self, writer: Writer) -> None:
        span = self.late(writer, user="ann")
        writer.call((1, 1), user="ann")
        writer.drain()
        writer.clock.advance(7_200)
        writer.end(span, (100, 20))
        writer.drain()
        minutes = query(
            writer.paths.database, "select bucket, status, calls, total_tokens from usage_1m"
        )
        assert [(row["status"], row["calls"], row["total_tokens"]) for row in minutes] == [
            ("ok", 2, 122)
        ]
        assert {row["bucket"] for row in minutes} == {writer.expected()[0]["ts"]}


class TestRollUps:
    @settings(max_examples=12)
    @given(data=st.data())
    def test_equal_the_sum_of_the_events_whatever_happens(
        self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        clock = ManualClock()
        writer = Writer(tmp_path_factory.mktemp("any") / "tokens.duckdb", clock)
        open_spans: list[Span] = []
        amounts = st.integers(0, 2**40)
        scopes = st.fixed_dictionaries(
            {}, optional={"user": st.sampled_from(["ann", "bob", "null"]), "team": st.just("ml")}
        )
        errors = st.sampled_from([None, None, "openai.RateLimitError", "builtins.ValueError"])

        def one_call() -> None:
            tokens = data.draw(st.tuples(amounts, amounts, amounts, amounts, amounts))
            error, model = data.draw(errors), data.draw(st.sampled_from(["m", "n"]))
            writer.call(tokens, error=error, model=model, **data.draw(scopes))

        def begin() -> None:
            open_spans.append(writer.start(**data.draw(scopes)))

        def end() -> None:
            if open_spans:
                span = open_spans.pop(data.draw(st.integers(0, len(open_spans) - 1)))
                writer.end(span, data.draw(st.sampled_from([(3, 4), (), (900, 0)])))

        def pass_time() -> None:
            clock.advance(data.draw(st.sampled_from([0.5, 30, 61, 86_400])))

        steps = [
            *[one_call] * 4, *[begin] * 3, *[end] * 3, pass_time,
            writer.lose, writer.spool.seal, lambda: drain(writer.paths),
        ]  # fmt: skip
        for step in data.draw(st.lists(st.sampled_from(steps), max_size=25)):
            step()
        one_call()
        writer.drain()
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)
        writer.close()
        assert writer.trouble.counts == {}


STRANGE = [
    "", " ", '"', '""', "'", "''; drop table usage_events; --", "a,b", ",", "line\nfeed", "\r\n",
    "\\", '\\"', "\\n", "\\u0000", "\0", "a\0b", "[", "[1", '[0,"{""user_id"":""x""}"', "{}", "]",
    "null", "NULL", "0]", "żółć", "🙂", "\u2028", "\ufeff", "\ufffe", "\x7f\x1b[31m", "e\u0301",
    "x" * 257, "y" * 70_000, "%s", "{0}", "$1", "?", "-0", "1e999", "true",
]  # fmt: skip


class TestStrangeText:
    def test_comes_out_as_it_went_in(self, writer: Writer) -> None:
        for text in STRANGE:
            writer.call(user=text, session=text, model=text or "m", department=text)
            writer.call(team=text, tags=[text or "t", "z"], app=text, env=text)
        writer.drain()
        rows = rows_of(writer.paths.database)
        assert rows == writer.expected()
        assert [row["user_id"] for row in rows[::2]] == [
            text[:TEXT_LENGTH] or None for text in STRANGE
        ]
        assert [row["model"] for row in rows[::2]] == [
            text[:TEXT_LENGTH] or "m" for text in STRANGE
        ]
        assert [row["attributes"].get("department") for row in rows[::2]] == [
            text[:256] or None for text in STRANGE
        ]
        assert_roll_ups_add_up(writer.paths.database)

    @settings(max_examples=6)
    @given(texts=st.lists(st.text(min_size=1), min_size=10, max_size=40))
    def test_of_any_kind_comes_out_as_it_went_in(
        self, texts: list[str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        writer = Writer(tmp_path_factory.mktemp("any") / "tokens.duckdb", ManualClock())
        for text in texts:
            writer.call(user=text, model=text, tags=[text], note=text)
        writer.drain()
        rows = rows_of(writer.paths.database)
        assert rows == writer.expected()
        assert [row["user_id"] for row in rows] == texts
        writer.close()
        assert writer.trouble.counts == {}

    def test_that_is_too_long_to_be_kept_is_cut(self, writer: Writer) -> None:
        writer.call(user="x" * 3_000_000, session="y" * 1_000)
        writer.drain()
        (row,) = rows_of(writer.paths.database)
        assert 256 <= len(row["user_id"]) < 3_000_000
        assert set(row["user_id"]) == {"x"}

    def test_of_any_length_keeps_nobody_elses_events_out(self, writer: Writer) -> None:
        writer.call(user="x" * 3_000_000)
        event = writer.call(user="ann")  # in the same segment
        writer.drain()
        assert event in ids_of(writer.paths.database)

    def test_a_custom_key_of_any_name_is_kept(self, writer: Writer) -> None:
        keys = {"requested": "a", "select": "b", "head": "c", "event_id": "d", "naïve": "e"}
        writer.call(**keys)
        writer.drain()
        (row,) = rows_of(writer.paths.database)
        assert row["attributes"] == keys


class TestSegmentsThatCannotBeRead:
    GARBAGE = b'[0,"an id",yesterday,1,2,3,4,5,[1,2,3,4,5],0]\n'

    def test_are_kept_aside_and_hold_up_nobody(
        self, writer: Writer, caplog: pytest.LogCaptureFixture
    ) -> None:
        spooled(writer)
        bad = writer.paths.spool / "00-bad.segment"
        bad.write_bytes(self.GARBAGE)
        assert drain(writer.paths) == 3
        assert rows_of(writer.paths.database) == writer.expected()
        assert_roll_ups_add_up(writer.paths.database)
        (aside,) = writer.paths.spool.iterdir()
        assert aside.read_bytes() == self.GARBAGE
        (record,) = caplog.records
        assert str(aside) in record.getMessage()
        assert "yesterday" not in caplog.text

    def test_are_not_tried_again(self, writer: Writer, caplog: pytest.LogCaptureFixture) -> None:
        spooled(writer, 1)
        (writer.paths.spool / "00-bad.segment").write_bytes(self.GARBAGE)
        for _ in range(3):
            spooled(writer, 1)
            drain(writer.paths)
        assert len(caplog.records) == 1
        assert rows_of(writer.paths.database) == writer.expected()


class TestFilesThatCannotBeUsed:
    """The error says why, and what was spooled stays."""

    def test_one_that_is_no_duckdb_file(self, writer: Writer) -> None:
        spooled(writer)
        waiting = writer.segments()
        writer.paths.database.write_bytes(b"SQLite format 3\0" + b"x" * 5_000)
        with pytest.raises(atm.StoreError, match=r"tokens\.duckdb cannot be opened"):
            drain(writer.paths)
        assert writer.segments() == waiting
        assert writer.paths.database.read_bytes().startswith(b"SQLite format 3\0")
        writer.paths.database.unlink()
        assert drain(writer.paths) == 3
        assert rows_of(writer.paths.database) == writer.expected()

    def test_one_of_a_newer_version(self, writer: Writer) -> None:
        spooled(writer)
        drain(writer.paths)
        connection = duckdb.connect(writer.paths.database)
        connection.execute("update atm_schema set version = 99")
        connection.close()
        spooled(writer)
        waiting = writer.segments()
        with pytest.raises(atm.StoreError, match=r"newer otel-atm \(schema 99.*update otel-atm"):
            drain(writer.paths)
        assert writer.segments() == waiting
        connection = duckdb.connect(writer.paths.database)
        connection.execute("update atm_schema set version = 2")
        connection.close()
        assert drain(writer.paths) == 3
        assert rows_of(writer.paths.database) == writer.expected()

    def test_one_that_somebody_else_has_open(self, writer: Writer) -> None:
        spooled(writer)
        drain(writer.paths)
        spooled(writer)
        waiting = writer.segments()
        other = duckdb.connect(writer.paths.database, read_only=True)
        try:
            with pytest.raises(atm.StoreError, match="cannot be opened"):
                drain(writer.paths)
        finally:
            other.close()
        assert writer.segments() == waiting
        assert drain(writer.paths) == 3
        assert rows_of(writer.paths.database) == writer.expected()

    def test_a_lock_that_does_not_come_free_in_time(self, writer: Writer) -> None:
        spooled(writer)
        waiting = writer.segments()
        with (
            locked(writer.paths.lock),
            pytest.raises(atm.StoreError, match=r"lock was locked for more than 0\.0 s"),
        ):
            drain(writer.paths, timeout_s=0.01)
        assert writer.segments() == waiting
        assert drain(writer.paths, timeout_s=0.01) == 3

    def test_a_folder_that_cannot_be_written(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spooled(writer)
        waiting, real = writer.segments(), os.open

        def read_only(path: Any, flags: int, *more: Any, **settings: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, flags, *more, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", read_only)
            with pytest.raises(OSError, match="Read-only file system"):
                drain(writer.paths)
        assert writer.segments() == waiting
        assert drain(writer.paths) == 3

    @pytest.mark.parametrize(
        "use", [StorePaths.of, atm.connect, lambda p: Writer(p, ManualClock())]
    )
    def test_a_folder_in_its_place(self, tmp_path: Path, use: Callable[[Path], object]) -> None:
        with pytest.raises(atm.ConfigurationError, match=r"is a folder; expected a DuckDB file"):
            use(tmp_path)

    def test_no_name_at_all(self) -> None:
        with pytest.raises(atm.ConfigurationError, match=r"store='': expected the path"):
            StorePaths.of("")
