"""The bound of what waits beside the file: refused rows go first, then all, and all is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import otel_atm as atm
from otel_atm.store.bound import read_bytes
from otel_atm.store.lock import locked
from otel_atm.testing import ManualClock
from tests.store.conftest import Writer, ids_of, query
from tests.store.test_store import Program, programs, waiting

__all__ = ["programs"]  # a fixture

MAX = 100_000


@pytest.fixture
def bounded(path: Path, clock: ManualClock) -> Iterator[Writer]:
    """A writer whose budget lets each user in once a minute."""
    writer = Writer(path, clock, "1 request / minute per user", max_bytes=MAX)
    yield writer
    writer.close()


def refuse(writer: Writer, user: str) -> None:
    with pytest.raises(atm.TokenQuotaExceeded):
        writer.start(user=user)


def test_with_room_for_all_nothing_is_dropped(bounded: Writer) -> None:
    bounded.spool.measure(MAX * 9 // 10 - 1)
    bounded.end(bounded.start(user="ann"))
    refuse(bounded, "ann")
    assert bounded.trouble.dropped == {}


def test_from_nine_tenths_on_rows_of_refused_calls_go(
    bounded: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    bounded.end(bounded.start(user="ann"))
    bounded.spool.measure(MAX * 9 // 10)
    for user in ("bob", "eve"):
        bounded.end(bounded.start(user=user))
        refuse(bounded, user)
    assert bounded.trouble.dropped == {"spool_full_refused": 2}
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "tokens.duckdb.spool holds 90% of spool_max_bytes=100,000: new rows of refused calls are "
        "dropped until a drain has made room"
    )
    bounded.drain()
    found = query(bounded.paths.database, "select user_id, decision from usage_events order by 1")
    assert [(row["user_id"], row["decision"]) for row in found] == [
        ("ann", "allowed"),
        ("bob", "allowed"),
        ("eve", "allowed"),
    ]


def test_when_it_is_reached_all_new_rows_go_until_there_is_room(
    bounded: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    bounded.end(bounded.start(user="ann"))
    bounded.spool.measure(MAX)
    for user in ("bob", "eve"):
        bounded.end(bounded.start(user=user))
    refuse(bounded, "bob")
    assert bounded.trouble.dropped == {"spool_full": 2, "spool_full_refused": 1}
    assert len(caplog.records) == 2
    bounded.drain()
    bounded.spool.measure(0)
    bounded.end(bounded.start(user="joe"))
    bounded.drain()
    users = query(bounded.paths.database, "select user_id from usage_events order by 1")
    assert [row["user_id"] for row in users] == ["ann", "joe"]


def test_a_segment_is_an_eighth_of_it_at_most(bounded: Writer) -> None:
    for number in range(300):
        bounded.end(bounded.start(user=f"user{number}"))
    sizes = [segment.stat().st_size for segment in bounded.segments()]
    assert len(sizes) > 2
    assert max(sizes) < MAX / 8 + 1_000


def test_a_store_holds_it_for_all_processes_and_goes_on_when_it_can_drain(path: Path) -> None:
    store = atm.Store(path, spool_max_bytes="64 KiB")
    program = Program(store)
    kept = [program.call()]
    with locked(store.paths.lock):
        foreign = store.paths.spool / "1-1-0.segment"  # as of another process
        foreign.write_bytes(b"\n" * 65_536)
        assert not store.flush(0.01)
        for _ in range(5):
            program.call()
        assert program.processor.trouble.dropped == {"spool_full": 5}
        assert len(waiting(path)) == 2
    assert not store.flush()  # since rows were lost
    kept.append(program.call())
    assert store.flush()
    assert ids_of(path) == kept
    program.processor.retire()
    program.provider.shutdown()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (65_536, 65_536),
        ("65536", 65_536),
        ("500 MB", 500_000_000),
        ("1.5GiB", 1_610_612_736),
        ("2 tb", 2 * 10**12),
        (" 1_000_000 ", 1_000_000),
    ],
)
def test_it_is_read_as_people_write_it(given: int | str, read: int) -> None:
    assert read_bytes("spool_max_bytes", given) == read


@pytest.mark.parametrize("given", [0, -1, 65_535, True, 1e9, None, "", "much", "1 XB", "9 kB"])
def test_what_cannot_be_meant_is_refused_and_quoted(
    given: object, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(atm.ConfigurationError) as raised:
        atm.Store(path, spool_max_bytes=given)  # type: ignore[arg-type]
    assert str(raised.value) == (
        f'spool_max_bytes={given!r}: expected bytes, at least 65,536, such as "500 MB"'
    )


def test_what_a_store_of_ones_own_drops_is_seen_by_the_processor(
    path: Path, programs: Callable[..., Program]
) -> None:
    store = atm.Store(path)
    program = programs(store)
    store.paths.spool.write_text("in the way")
    program.call()
    assert program.processor.trouble.dropped == {"spool_write": 1}
    store.paths.spool.unlink()
