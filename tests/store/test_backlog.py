"""Rows that somebody keeps back are written before anybody reads, and soon in any case."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import otel_atm as atm
from otel_atm import Scope
from otel_atm.gate import Kind
from otel_atm.store.backlog import Backlog
from otel_atm.store.store import Store
from otel_atm.testing import ManualClock
from otel_atm.trouble import Trouble
from tests.store.conftest import Writer, assert_roll_ups_add_up, query, rows_of


class Keeper:
    """Counts how often it is asked."""

    def __init__(self, wait_s: float = 1.0) -> None:
        self.wait_s, self.asked, self.enough = wait_s, [0, 0], threading.Event()

    def write_due(self) -> float:
        self.asked[0] += 1
        if self.asked[0] >= 3:
            self.enough.set()
        return self.wait_s

    def write_all(self) -> None:
        self.asked[1] += 1


@pytest.fixture
def processors(path: Path, clock: ManualClock) -> Iterator[Callable[..., atm.TokenSpanProcessor]]:
    """Makes processors that refuse everything."""
    made: list[atm.TokenSpanProcessor] = []

    def make(store: str | Path | Store = path) -> atm.TokenSpanProcessor:
        made.append(atm.TokenSpanProcessor(ledger="memory", store=store, clock=clock))
        made[-1].stop()
        return made[-1]

    yield make
    for processor in made:
        processor.retire()


def refuse(processor: atm.TokenSpanProcessor, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(atm.TokenQuotaExceeded), processor.admit(tokens=10, model="gpt-5.1"):
            pass


def refused(path: Path) -> list[tuple[int, int]]:
    """(rows, calls) of the file."""
    rows = query(path, "select count(*) as rows, sum(calls)::int as calls from usage_events")
    return [(row["rows"], row["calls"]) for row in rows]


def test_a_row_of_many_calls_arrives_in_the_file(
    writers: Callable[..., Writer], clock: ManualClock
) -> None:
    writer = writers("1 request / day")
    writer.call()
    for number in range(25):
        with pytest.raises(atm.TokenQuotaExceeded):
            writer.start()
        clock.advance(0.3)
        if number % 10 == 0:
            writer.drain()
    writer.lose()
    writer.drain()
    rows = rows_of(writer.paths.database)
    assert rows == writer.expected()
    assert sum(row["calls"] for row in rows if row["decision"] == "refused") == 25
    assert max(row["calls"] for row in rows) == 4
    assert_roll_ups_add_up(writer.paths.database)


def test_whoever_reads_sees_every_refusal(
    processors: Callable[..., atm.TokenSpanProcessor], path: Path
) -> None:
    processor = processors()
    refuse(processor, 7)
    assert refused(path) == [(2, 7)]


@pytest.mark.parametrize("end", ["force_flush", "shutdown", "retire"])
def test_so_does_the_file_after_each_end(
    processors: Callable[..., atm.TokenSpanProcessor], path: Path, end: str
) -> None:
    processor = processors()
    refuse(processor, 7)
    getattr(processor, end)()
    assert list(path.with_name(path.name + ".spool").glob("*.segment")) == []
    assert refused(path) == [(2, 7)]


def test_a_refusal_after_the_end_is_written_at_once(
    processors: Callable[..., atm.TokenSpanProcessor], path: Path
) -> None:
    processor = processors()
    refuse(processor, 3)
    processor.shutdown()
    refuse(processor)
    assert len(list(path.with_name(path.name + ".spool").glob("*.segment"))) == 1


def test_rows_stay_with_the_store_that_was_theirs(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    handle = atm.init(store=path, ledger="memory")
    try:
        handle.stop()
        for store, times in ((path, 3), (other, 5)):
            atm.init(store=store, ledger="memory")
            for _ in range(times):
                with pytest.raises(atm.TokenQuotaExceeded), atm.admit(tokens=10):
                    pass
    finally:
        handle.shutdown()
    assert [refused(path), refused(other)] == [[(2, 3)], [(2, 5)]]


def test_a_forked_child_does_not_write_what_its_parent_keeps_back(
    processors: Callable[..., atm.TokenSpanProcessor], path: Path
) -> None:
    processor = processors()
    refuse(processor, 5)
    child = os.fork()
    if not child:
        refuse(processor, 3)
        os._exit(not processor.force_flush())
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert refused(path) == [(4, 8)]


def test_the_stores_thread_asks_for_what_is_due(path: Path, writer: Writer) -> None:
    store, keeper = Store(path), Keeper(wait_s=0.0)
    store.backlog.join(keeper)
    call = writer.gate.charge(
        writer.gate.plan(Kind(Scope(), "openai", "gpt-5.1", "chat")), "span", "x"
    )
    try:
        store.append(call)  # begins a segment, and so the thread
        assert keeper.enough.wait(30)
        assert keeper.asked[1] == 0
    finally:
        store.close()
    assert keeper.asked[1] == 1


def test_it_is_asked_soon_but_not_all_the_time() -> None:
    backlog, keepers = Backlog(Trouble()), [Keeper(0.4), Keeper(0.2)]
    assert backlog.write_due() == 1.0
    for keeper in keepers:
        backlog.join(keeper)
    assert backlog.write_due() == 0.2
    keepers[0].wait_s = 0.0
    assert backlog.write_due() == 0.05
    del keepers[0], keeper
    assert backlog.write_due() == 0.2  # nobody is kept alive


def test_one_that_fails_is_counted_and_the_others_are_asked() -> None:
    class Failing(Keeper):
        def write_due(self) -> float:
            raise ZeroDivisionError

        write_all = write_due  # type: ignore[assignment]

    trouble, fine, failing = Trouble(), Keeper(), Failing()
    backlog = Backlog(trouble)
    for keeper in (failing, fine):
        backlog.join(keeper)
    backlog.write_due()
    backlog.write_all()
    assert fine.asked == [1, 1]
    assert trouble.counts == {"backlog": 2}
