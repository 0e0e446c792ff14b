"""Parquet: a file a day, whole or not at all, that other engines read as DuckDB does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import chdb
import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import otel_atm as atm
from otel_atm import housekeeping
from otel_atm.store import parquet
from otel_atm.store.lock import locked
from otel_atm.store.parquet import export
from otel_atm.store.retention import prune
from tests.store.conftest import Writer, query

DAY_S = 86_400


def now_of(writer: Writer) -> datetime:
    """Naive, in UTC."""
    return datetime.fromtimestamp(writer.clock() / 1e9, UTC).replace(tzinfo=None)


def files_in(folder: Path) -> dict[str, int]:
    """Name → inode of all that is not hidden."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_ino
        for path in sorted(folder.rglob("[!.]*.parquet"))
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def three_days(writer: Writer) -> Writer:
    """Calls on three days, of two users, one with keys of its own."""
    for day in range(3):
        writer.call((10, day), user="ann", department="finance", tags=["a", "b"], session="s1")
        writer.call((7, 8, 1, 1, 1), user="bob", error="openai.RateLimitError", team="ml")
        if day < 2:
            writer.clock.advance(DAY_S)
    return writer


@pytest.fixture
def days(three_days: Writer) -> list[date]:
    last = now_of(three_days).date()
    return [last - timedelta(days=2), last - timedelta(days=1), last]


def test_each_day_has_a_file_of_its_rows(
    three_days: Writer, days: list[date], folder: Path, path: Path
) -> None:
    three_days.spool.seal()
    done = export(three_days.paths, folder)
    assert done == parquet.Export(folder, tuple(days), (), (), 6)
    assert list(files_in(folder)) == [f"day={day}/usage_events.parquet" for day in days]
    exported = duckdb.sql(
        f"select * exclude (day) from read_parquet('{folder}/*/*.parquet', hive_partitioning=true) "
        "order by event_id"
    )
    told = [dict(zip(exported.columns, row, strict=True)) for row in exported.fetchall()]
    for row in told:
        row["attributes"] = json.loads(row["attributes"])
    assert told == query(path, "from usage_events order by event_id")


def test_again_only_what_has_changed_is_written(
    three_days: Writer, days: list[date], folder: Path
) -> None:
    three_days.drain()
    export(three_days.paths, folder)
    before = files_in(folder)
    assert export(three_days.paths, folder).unchanged == tuple(days)
    assert files_in(folder) == before
    three_days.call()
    three_days.spool.seal()
    done = export(three_days.paths, folder)
    assert (done.written, done.unchanged, done.rows) == ((days[2],), tuple(days[:2]), 3)
    after = files_in(folder)
    assert [name for name in after if after[name] != before[name]] == [list(after)[2]]


def test_a_corrected_row_is_a_change(writer: Writer, folder: Path) -> None:
    span = writer.start()
    writer.lose()
    writer.drain()
    assert export(writer.paths, folder).written
    writer.end(span, (1, 2))
    writer.drain()
    assert export(writer.paths, folder).written


def test_only_the_days_that_are_asked_for(
    three_days: Writer, days: list[date], folder: Path
) -> None:
    three_days.drain()
    assert export(three_days.paths, folder, since=days[2]).written == (days[2],)
    assert export(three_days.paths, folder, until=days[0]).written == (days[0],)
    assert export(three_days.paths, folder, since=days[1], until=days[1]).written == (days[1],)
    assert export(three_days.paths, folder, since=days[2] + timedelta(days=1)).written == ()


@pytest.mark.parametrize("relation", ["usage_1m", "usage_1h"])
def test_roll_ups_are_exported_too(three_days: Writer, folder: Path, relation: str) -> None:
    three_days.drain()
    export(three_days.paths, folder, relation=relation)
    exported = duckdb.sql(
        f"select * exclude (day) from read_parquet('{folder}/*/{relation}.parquet') order by all"
    )
    assert [dict(zip(exported.columns, row, strict=True)) for row in exported.fetchall()] == query(
        three_days.paths.database, f"from {relation} order by all"
    )


def test_relations_may_share_a_folder(three_days: Writer, folder: Path) -> None:
    three_days.drain()
    export(three_days.paths, folder)
    before = files_in(folder)
    assert len(export(three_days.paths, folder, relation="usage_1m").written) == 3
    assert before.items() < files_in(folder).items()
    assert export(three_days.paths, folder).written == ()


def test_a_day_that_retention_has_cut_keeps_the_file_that_it_has(
    three_days: Writer, days: list[date], folder: Path
) -> None:
    three_days.clock.advance(3 * 3_600)
    three_days.call()
    three_days.drain()
    export(three_days.paths, folder)
    before = files_in(folder)
    prune(three_days.paths, "1 hour", now=now_of(three_days))
    done = export(three_days.paths, folder)
    assert (done.written, done.unchanged, done.kept) == ((), (), (days[2],))
    assert files_in(folder) == before


def test_a_day_that_was_cut_before_it_was_ever_exported_is_exported_as_it_is(
    three_days: Writer, days: list[date], folder: Path
) -> None:
    three_days.clock.advance(3 * 3_600)
    three_days.call()
    three_days.drain()
    prune(three_days.paths, "1 hour", now=now_of(three_days))
    done = export(three_days.paths, folder)
    assert (done.written, done.rows) == ((days[2],), 1)


class TestEngines:
    """What others read of the files is what DuckDB has."""

    @pytest.fixture
    def sums(self, three_days: Writer, folder: Path, path: Path) -> list[tuple[Any, ...]]:
        three_days.drain()
        export(three_days.paths, folder)
        return [
            tuple(row.values())
            for row in query(
                path,
                "select user_id, count(*)::bigint as calls, sum(total_tokens)::bigint as tokens, "
                "epoch_us(min(ts)) as first, epoch_us(max(ts)) as last, "
                "max(attributes::json ->> '$.department') as department, "
                "max(len(tags))::bigint as tags from usage_events group by user_id order by all",
            )
        ]

    def test_clickhouse(self, folder: Path, sums: list[tuple[Any, ...]]) -> None:
        answer = chdb.query(
            "select user_id, count(), sum(total_tokens), "
            "toUnixTimestamp64Micro(min(ts)), toUnixTimestamp64Micro(max(ts)), "
            "max(nullIf(JSONExtractString(attributes, 'department'), '')), "
            f"max(length(tags)) from file('{folder}/day=*/usage_events.parquet', Parquet) "
            "group by user_id order by user_id",
            "JSONCompact",
        )
        rows = json.loads(str(answer))["data"]
        assert [(row[0], *map(int, row[1:5]), row[5], int(row[6])) for row in rows] == sums

    def test_arrow(self, folder: Path, sums: list[tuple[Any, ...]], days: list[date]) -> None:
        table = ds.dataset(folder, partitioning="hive").to_table()
        assert sorted(set(table["day"].to_pylist())) == [str(day) for day in days]
        by_user = table.group_by("user_id").aggregate([("total_tokens", "sum")]).to_pylist()
        told = {row["user_id"]: row["total_tokens_sum"] for row in by_user}
        assert told == {row[0]: row[2] for row in sums}

    def test_the_types_are_such_as_spark_reads(
        self, folder: Path, sums: list[tuple[Any, ...]]
    ) -> None:
        file = pq.ParquetFile(next(folder.rglob("*.parquet")))
        columns = {
            column.path: column for column in map(file.schema.column, range(len(file.schema)))
        }
        time = columns["ts"]
        assert time.physical_type == "INT64"
        assert json.loads(time.logical_type.to_json()) == {
            "Type": "Timestamp",
            "isAdjustedToUTC": False,
            "timeUnit": "microseconds",
            "is_from_converted_type": False,
            "force_set_converted_type": False,
        }
        kinds = {(each.physical_type, each.logical_type.type) for each in columns.values()}
        assert kinds == {
            ("INT64", "TIMESTAMP"),
            ("BYTE_ARRAY", "STRING"),
            ("INT64", "INT"),
            ("INT32", "INT"),
            ("DOUBLE", "NONE"),
            ("BOOLEAN", "NONE"),
        }
        assert {file.metadata.row_group(0).column(0).compression} == {"ZSTD"}


class TestHalfWritten:
    """Nobody ever sees half a file."""

    def test_what_fails_leaves_nothing_new(
        self, three_days: Writer, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        three_days.drain()
        export(three_days.paths, folder)
        before = files_in(folder)
        three_days.call()
        three_days.drain()

        def full(_: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(parquet, "sync", full)
        with pytest.raises(OSError, match="No space left"):
            export(three_days.paths, folder)
        assert files_in(folder) == before
        assert list(folder.rglob("*.draft")) == []

    def test_a_draft_of_somebody_who_was_killed_is_removed(
        self, three_days: Writer, folder: Path, days: list[date]
    ) -> None:
        three_days.drain()
        gone = folder / "day=1999-01-01" / parquet._draft_name("usage_events")
        gone.parent.mkdir(parents=True)
        gone.write_bytes(b"half")
        export(three_days.paths, folder)
        assert not gone.exists()

    def test_a_file_that_is_none_of_ours_is_replaced(
        self, three_days: Writer, folder: Path, days: list[date]
    ) -> None:
        three_days.drain()
        file = folder / f"day={days[0]}" / "usage_events.parquet"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"half")
        assert days[0] in export(three_days.paths, folder).written
        assert pq.read_metadata(file).num_rows == 2

    def test_two_at_a_time_take_turns(self, three_days: Writer, folder: Path) -> None:
        three_days.drain()
        done: list[parquet.Export] = []
        threads = [
            threading.Thread(target=lambda: done.append(export(three_days.paths, folder)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(len(each.written) for each in done) == [0, 0, 3]


def test_programs_are_held_up_for_a_day_at_a_time_only(
    three_days: Writer, folder: Path, path: Path
) -> None:
    three_days.drain()

    def drain_between(_: float) -> None:
        with locked(three_days.paths.lock, timeout_s=0):  # free between two days
            drained.append(True)

    drained: list[bool] = []
    export(three_days.paths, folder, progress=drain_between)
    assert len(drained) == 3


def test_progress_is_told_day_by_day(three_days: Writer, folder: Path) -> None:
    three_days.drain()
    told: list[float] = []
    export(three_days.paths, folder, progress=told.append)
    assert told == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]


class TestMistakes:
    def test_another_relation_is_quoted(self, writer: Writer, folder: Path) -> None:
        with pytest.raises(atm.ConfigurationError) as raised:
            export(writer.paths, folder, relation="usage")
        assert str(raised.value) == (
            "relation='usage': expected one of usage_events, usage_1h, usage_1m"
        )

    def test_days_the_wrong_way_round_are_quoted(self, writer: Writer, folder: Path) -> None:
        with pytest.raises(
            atm.ConfigurationError, match="until=2026-01-01 is before since=2026-01-02"
        ):
            export(writer.paths, folder, since=date(2026, 1, 2), until=date(2026, 1, 1))

    @pytest.mark.parametrize("day", ["yesterday", "2026-13-01", 7, datetime(2026, 1, 1)])
    def test_what_is_no_day_is_quoted(self, path: Path, folder: Path, day: Any) -> None:
        with pytest.raises(atm.ConfigurationError) as raised:
            housekeeping.export(path, folder, since=day)
        assert str(raised.value) == f"since={day!r}: expected a day, e.g. '2026-11-22'"

    def test_without_a_store_there_is_nothing_to_export(self, writer: Writer, folder: Path) -> None:
        with pytest.raises(atm.StoreError, match="does not exist: there is nothing to export"):
            export(writer.paths, folder)
        assert not folder.exists()

    def test_a_folder_that_is_a_file_is_an_error(
        self, three_days: Writer, writers: Callable[..., Writer], folder: Path
    ) -> None:
        three_days.drain()
        folder.write_text("no folder")
        with pytest.raises(OSError, match="archive"):
            export(three_days.paths, folder)
