"""The spool: an event is in a file of ours, whole, when the call that made it returns."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from otel_atm.gate import Kind
from otel_atm.scope import Scope
from otel_atm.store import spool as spool_module
from otel_atm.store.drain import drain
from otel_atm.store.spool import seal_own
from tests.store.conftest import Writer, ids_of, rows_of

Write = Callable[[int, bytes], int]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def is_locked(path: Path) -> bool:
    """Whether somebody else would have to wait for it."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is written while the test runs, one entry a system call."""
    made: list[bytes] = []
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        made.append(bytes(data))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    return made


class TestFiles:
    def test_nothing_is_made_before_the_first_event(self, writer: Writer, tmp_path: Path) -> None:
        assert list(tmp_path.iterdir()) == []
        writer.call()
        assert list(tmp_path.iterdir()) == [writer.paths.spool]

    def test_only_the_owner_may_read_them_whatever_the_umask(self, writer: Writer) -> None:
        before = os.umask(0)
        try:
            writer.call()
        finally:
            os.umask(before)
        assert (mode(writer.paths.spool), mode(writer.segment())) == (0o700, 0o600)

    def test_folders_above_are_made_too(
        self, writers: Callable[..., Writer], tmp_path: Path
    ) -> None:
        path = tmp_path / "deep" / "down" / "tokens.duckdb"
        writer = writers(at=path)
        event = writer.call()
        assert ids_of(path) == [event]

    def test_a_segment_is_locked_while_it_is_written_and_not_when_it_is_sealed(
        self, writer: Writer
    ) -> None:
        writer.call()
        assert is_locked(writer.segment())
        assert writer.spool.seal()
        assert not is_locked(writer.segment())
        assert not writer.spool.seal()  # there is none any more

    def test_a_segment_that_is_being_written_is_left_alone(self, writer: Writer) -> None:
        writer.call()
        assert drain(writer.paths) == 0
        written = writer.segment()
        writer.call()
        assert writer.segment() == written

    def test_a_sealed_segment_is_never_written_again(self, writer: Writer) -> None:
        writer.call()
        writer.spool.seal()
        sealed = writer.segment()
        content = sealed.read_bytes()
        writer.call()
        assert sealed.read_bytes() == content
        assert len(writer.segments()) == 2

    def test_a_segment_that_is_full_is_followed_by_another(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer.spool._bound, "segment_bytes", 2_000)
        events = [writer.call(user=f"u{number % 3}") for number in range(60)]
        assert 3 <= len(writer.segments()) <= 60
        assert max(segment.stat().st_size for segment in writer.segments()) < 3_000
        writer.spool.seal()
        assert ids_of(writer.paths.database) == events

    def test_two_writers_of_one_process_have_a_segment_each(
        self, writers: Callable[..., Writer]
    ) -> None:
        one, other = writers(), writers()
        events = [one.call(), other.call(), one.call()]
        assert len(one.segments()) == 2
        assert ids_of(one.paths.database) == sorted(events)


class TestWrites:
    def test_each_event_is_one_write_of_whole_lines(
        self, writer: Writer, writes: list[bytes]
    ) -> None:
        for number in range(6):
            writer.call(user=f"u{number % 2}", team="ml")
        assert len(writes) == 6
        assert all(data.endswith(b"\n") for data in writes)
        assert b"".join(writes) == writer.segment().read_bytes()

    def test_an_event_is_in_the_file_when_the_call_returns(self, writer: Writer) -> None:
        for _ in range(3):
            event = writer.call()
            assert event.encode() in writer.segment().read_bytes()

    def test_who_paid_is_written_once(self, writer: Writer) -> None:
        for _ in range(5):
            writer.call(user="somebody-special")
        assert writer.segment().read_bytes().count(b"somebody-special") == 1

    def test_the_door_is_written_with_who_paid(self, writer: Writer) -> None:
        plan = writer.gate.plan(Kind(Scope(), "openai", "gpt-5.1", "chat"))
        for source in ("span", "guard", "admit", "guard"):
            writer.gate.settle(writer.gate.charge(plan, source, ""), (11, 7, 0, 0, 0))
        writer.drain()
        assert [row["source"] for row in rows_of(writer.paths.database)] == [
            "span",
            "guard",
            "admit",
            "guard",
        ]

    def test_each_segment_stands_for_itself(self, writer: Writer) -> None:
        for _ in range(3):
            writer.call(user="ann")
            writer.spool.seal()
        for segment in writer.segments()[:2]:
            segment.unlink()
        (row,) = rows_of(writer.paths.database)
        assert row == writer.expected()[-1]


class TestTornTails:
    def test_of_a_segment_that_ends_anywhere_all_whole_lines_count_and_nothing_else(
        self, writer: Writer
    ) -> None:
        whole: list[bytes] = []
        for place in range(90):
            for number in range(3):
                writer.call((place, number), user=f"u{number % 2}", note='a,"b"\n')
            writer.spool.seal()
            segment = writer.segments()[-1]
            content = segment.read_bytes()
            cut = content[: len(content) * place // 89]
            whole += cut.split(b"\n")[:-1]
            segment.write_bytes(cut)
        lines = b"\n".join(whole)
        survivors = [row for row in writer.expected() if row["event_id"].encode() in lines]
        assert 50 < len(survivors) < 220
        assert rows_of(writer.paths.database) == survivors
        assert writer.segments() == []

    def test_a_segment_without_a_whole_line_is_thrown_away(self, writer: Writer) -> None:
        writer.call()
        writer.spool.seal()
        for content in (b"", b"[0,", b"\0\0\0"):
            writer.segment().write_bytes(content)
            assert writer.drain() == 0
            assert writer.segments() == []
            writer.call()
            writer.spool.seal()


class TestAFullDisk:
    @pytest.fixture
    def full(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
        """Lets the next write put down that share of its bytes and no more; -1: it raises."""
        real = os.write
        room: list[float] = []

        def write(descriptor: int, data: bytes) -> int:
            if not room:
                return real(descriptor, data)
            share = room.pop()
            if share < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, data[: min(int(len(data) * share), len(data) - 1)])

        monkeypatch.setattr(os, "write", write)
        return room.append

    @pytest.mark.parametrize("room", [-1, 0, 0.01, 0.3, 0.6, 0.9, 1])
    @pytest.mark.parametrize("before", [0, 1])
    def test_costs_the_event_that_did_not_fit_and_no_other(
        self, writer: Writer, full: Callable[[float], None], room: float, before: int
    ) -> None:
        kept = [writer.call(user="ann") for _ in range(before)]
        full(room)
        lost = writer.call(user="ann")
        kept += [writer.call(user="ann"), writer.call(user="bob")]
        assert writer.trouble.dropped == {"spool_write": 1}
        assert writer.trouble.counts == {"spool_write": 1}
        writer.spool.seal()
        assert ids_of(writer.paths.database) == kept
        assert lost not in kept
        writer.trouble.counts.clear()

    def test_is_said_once_and_counted_each_time(
        self, writer: Writer, full: Callable[[float], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(4):
            full(-1)
            writer.call()
        assert writer.trouble.dropped == {"spool_write": 4}
        (record,) = caplog.records
        assert "spool_write failed" in record.getMessage()
        assert "No space left on device" in record.getMessage()
        writer.trouble.counts.clear()

    def test_does_not_stop_the_application_when_no_segment_can_be_begun(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", refuse)
            writer.call()
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            writer.call()
        assert writer.trouble.dropped == {"spool_write": 2}
        event = writer.call()
        assert ids_of(writer.paths.database) == [event]
        writer.trouble.counts.clear()


class TestThreads:
    def test_no_event_is_lost_or_torn_while_segments_are_sealed_and_drained(
        self, writer: Writer
    ) -> None:
        done = threading.Event()

        def drain_all_the_time() -> int:
            rounds = 0
            while not done.is_set():
                writer.drain()
                rounds += 1
            return rounds

        def write(thread: int) -> None:
            for number in range(150):
                writer.call((number + 1, thread + 1), user=f"u{thread}")

        with ThreadPoolExecutor(9) as pool:
            drainer = pool.submit(drain_all_the_time)
            list(pool.map(write, range(8)))
            done.set()
            assert drainer.result() > 1
        assert rows_of(writer.paths.database) == writer.expected()
        assert len(writer.expected()) == 8 * 150

    def test_a_segment_that_a_drain_took_before_it_was_locked_is_not_used(
        self, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = fcntl.flock
        begun: list[int] = []

        def too_late(descriptor: int, how: int) -> None:
            if not begun:
                begun.append(descriptor)
                drain(writer.paths)  # sees an empty file that nobody has locked, and deletes it
            real(descriptor, how)

        monkeypatch.setattr(fcntl, "flock", too_late)
        event = writer.call()
        assert begun
        assert ids_of(writer.paths.database) == [event]


def test_a_span_that_the_garbage_collector_ends_in_the_midst_of_another_is_kept(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = spool_module.orjson.dumps
    depth = 0

    def dumps(*args: Any, **kwargs: Any) -> bytes:
        nonlocal depth
        if depth < 3:  # as a collection would, wherever something is allocated
            depth += 1
            writer.call(user=f"user{depth}")
            seal_own(writer.paths.spool)
        return real(*args, **kwargs)

    monkeypatch.setattr(spool_module.orjson, "dumps", dumps)
    writer.call(user="ann")
    rows = rows_of(writer.paths.database)
    assert rows == writer.expected()
    assert sorted(row["user_id"] for row in rows) == ["ann", "user1", "user2", "user3"]


def test_text_that_is_no_unicode_is_counted_as_lost_every_time(writer: Writer) -> None:
    for _ in range(3):
        writer.call(user="half a pair: \ud800")
    kept = writer.call(user="ann")
    writer.trouble.counts.clear()
    found = ids_of(writer.paths.database)
    assert found[-1] == kept
    assert len(found) + sum(writer.trouble.dropped.values()) == 4
