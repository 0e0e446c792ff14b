"""Retention: what is older than it is to be kept leaves the file, and does not come back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import otel_atm as atm
from otel_atm.store import retention
from otel_atm.store.age import horizon, read_age
from otel_atm.store.retention import Retention, prune
from otel_atm.store.store import Store
from otel_atm.testing import ManualClock
from otel_atm.trouble import Trouble
from tests.store.conftest import Writer, assert_roll_ups_add_up, ids_of, query

HOUR_S = 3_600
DAY_S = 24 * HOUR_S


def now_of(clock: ManualClock) -> datetime:
    """Naive, in UTC."""
    return datetime.fromtimestamp(clock() / 1e9, UTC).replace(tzinfo=None)


def calls_in(path: Path, relation: str) -> int:
    ((calls,),) = [row.values() for row in query(path, f"select sum(calls) as n from {relation}")]
    return int(calls or 0)


@pytest.fixture
def daily(writer: Writer) -> Writer:
    """A call at noon of each of ten days; it is noon of the last one."""
    now = now_of(writer.clock)
    writer.clock.advance((now.replace(hour=12, minute=0) + timedelta(days=1) - now).total_seconds())
    for day in range(10):
        writer.call((10, day))
        if day < 9:
            writer.clock.advance(DAY_S)
    writer.drain()
    return writer


class TestAges:
    @pytest.mark.parametrize(
        ("said", "means"),
        [
            ("90 days", timedelta(days=90)),
            ("90d", timedelta(days=90)),
            (" 1 Day ", timedelta(days=1)),
            ("12 hours", timedelta(hours=12)),
            ("2 weeks", timedelta(days=14)),
            ("6 months", timedelta(days=180)),
            ("2y", timedelta(days=730)),
            (timedelta(days=3), timedelta(days=3)),
            (None, None),
        ],
    )
    def test_an_age_is_said_as_people_say_it(self, said: Any, means: timedelta | None) -> None:
        assert read_age("events", said) == means

    @pytest.mark.parametrize(
        "said",
        ["", "90", "days", "90 m", "-1 d", "0 days", "59 minutes", "1.5 d", "9999999 y", 90, True,
         timedelta(minutes=59), timedelta(days=-1)],
    )  # fmt: skip
    def test_another_is_quoted_with_what_is_expected(self, said: Any) -> None:
        with pytest.raises(atm.ConfigurationError) as raised:
            read_age("keep_events", said)
        assert str(raised.value) == (
            f"keep_events={said!r}: expected an age from an hour to 1000 years, e.g. '90 days', "
            "'12h', '2 years'"
        )

    @given(
        st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),
        st.timedeltas(timedelta(hours=1), timedelta(days=9999)),
    )
    def test_no_hour_is_kept_in_part_and_of_long_ages_no_day(
        self, now: datetime, age: timedelta
    ) -> None:
        since = horizon(now, age)
        unit = timedelta(hours=1) if age < timedelta(days=2) else timedelta(days=1)
        assert now - age - unit < since <= now - age
        assert (since - datetime.min) % unit == timedelta(0)


def test_what_is_older_leaves_the_file_and_the_rest_stays(daily: Writer, path: Path) -> None:
    now = now_of(daily.clock)
    pruned = prune(daily.paths, "3 days", "7 days", now=now)
    midnight = now.replace(hour=0)
    assert pruned == retention.Pruned(
        events=6,
        rollups=pruned.rollups,
        points=0,
        events_since=midnight - timedelta(days=3),
        rollups_since=midnight - timedelta(days=7),
    )
    assert pruned.rollups > 0
    assert (calls_in(path, "usage_events"), calls_in(path, "usage_1m")) == (4, 8)
    assert min(query(path, "select min(ts) as ts from usage_events")[0].values()) == (
        now - timedelta(days=3)
    )


def test_again_there_is_nothing_to_delete(daily: Writer) -> None:
    for deleted in (6, 0):
        assert prune(daily.paths, "3 days", now=now_of(daily.clock)).events == deleted


def test_in_what_both_keep_roll_ups_equal_events(daily: Writer, path: Path) -> None:
    prune(daily.paths, "3 days", "3 days", now=now_of(daily.clock))
    assert len(ids_of(path)) == 4
    assert_roll_ups_add_up(path)


def test_without_an_age_everything_is_kept(daily: Writer, path: Path) -> None:
    assert prune(daily.paths, now=now_of(daily.clock)).events == 0
    assert calls_in(path, "usage_events") == 10


def test_a_late_correction_of_a_deleted_event_does_not_count_again(
    writer: Writer, path: Path
) -> None:
    span = writer.start()
    writer.lose()
    writer.drain()
    lost = query(path, "from usage_1m")
    writer.clock.advance(9 * DAY_S)
    prune(writer.paths, "3 days", now=now_of(writer.clock))
    writer.end(span, (999, 999))
    assert writer.drain() == 0
    assert (ids_of(path), query(path, "from usage_1m")) == ([], lost)


def test_a_correction_does_not_bring_deleted_roll_ups_back(writer: Writer, path: Path) -> None:
    span = writer.start()
    writer.lose()
    writer.drain()
    writer.clock.advance(9 * DAY_S)
    prune(writer.paths, None, "3 days", now=now_of(writer.clock))
    writer.end(span, (999, 1))
    assert writer.drain() == 1
    assert query(path, "select total_tokens from usage_events") == [{"total_tokens": 1000}]
    assert query(path, "from usage_1m") == []


def test_a_segment_that_comes_back_after_its_events_were_deleted_counts_once(
    writer: Writer, path: Path, tmp_path: Path
) -> None:
    writer.call()
    writer.spool.seal()
    segment = writer.segment()
    kept = tmp_path / segment.name.replace("segment", "elsewhere")
    shutil.copy(segment, kept)
    writer.drain()
    writer.clock.advance(9 * DAY_S)
    prune(writer.paths, "3 days", now=now_of(writer.clock))
    writer.call()
    writer.drain()  # forgets the name of the first segment, whose file is gone
    shutil.copy(kept, segment.with_name(f"0-{segment.name}"))
    assert writer.drain() == 0
    assert calls_in(path, "usage_1m") == 2


def test_the_horizon_never_goes_back(daily: Writer, path: Path) -> None:
    now = now_of(daily.clock)
    prune(daily.paths, "3 days", now=now)
    assert prune(daily.paths, "9 days", now=now).events == 0
    assert query(path, "select count(*) as n, max(since) as since from atm_horizon") == [
        {"n": 1, "since": now.replace(hour=0) - timedelta(days=3)}
    ]


def test_when_the_time_is_up_the_oldest_days_are_gone_and_the_rest_is_for_later(
    daily: Writer, path: Path
) -> None:
    now = now_of(daily.clock)
    assert not prune(daily.paths, "3 days", now=now, patience_s=0).done
    assert calls_in(path, "usage_events") == 10
    assert prune(daily.paths, "3 days", now=now, patience_s=3_600).done
    assert calls_in(path, "usage_events") == 4


def test_progress_is_told_day_by_day(daily: Writer) -> None:
    told: list[float] = []
    prune(daily.paths, "3 days", now=now_of(daily.clock), progress=told.append)
    assert told == sorted(told)
    assert (len(told), told[-1]) == (6, 1.0)


def test_without_a_file_there_is_nothing_to_delete(writer: Writer) -> None:
    with pytest.raises(atm.StoreError, match="does not exist"):
        prune(writer.paths, "3 days")


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_whatever_was_kept_how_long_hours_kept_in_both_add_up(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "tokens.duckdb"
    writer = Writer(path, ManualClock())
    ages = st.integers(1, 200).map(lambda hours: timedelta(hours=hours))
    open_ones = []
    for _ in range(data.draw(st.integers(2, 8))):
        writer.call((data.draw(st.integers(0, 99)), 1))
        open_ones.append(writer.start())
        writer.clock.advance(data.draw(st.integers(1, 60)) * HOUR_S)
    writer.lose()
    writer.drain()
    events, rollups = data.draw(ages), data.draw(ages)
    pruned = prune(writer.paths, events, rollups, now=now_of(writer.clock))
    for span in open_ones:
        writer.end(span, (5, 5))
    writer.drain()
    both = max(pruned.events_since or datetime.min, pruned.rollups_since or datetime.min)
    sums = [
        query(path, f"select sum(calls)::bigint as calls, sum(total_tokens)::bigint as tokens "
                    f"from {relation} where {time} >= ?", [both])
        for relation, time in (("usage_events", "ts"), ("usage_1m", "bucket"))
    ]  # fmt: skip
    assert sums[0] == sums[1]
    assert query(path, "from usage_1m where bucket < ?", [pruned.rollups_since]) == []
    assert query(path, "from usage_events where ts < ?", [pruned.events_since]) == []
    writer.close()


class TestPoints:
    """Points of metrics go with the roll-ups; see `otel_atm.store.points`."""

    @pytest.fixture
    def points(self, writer: Writer) -> Writer:
        """Ten days of three series: one that goes on, one that has ended, and one of deltas."""
        writer.call()
        writer.drain()
        with duckdb.connect(writer.paths.database) as connection:
            connection.execute(POINTS)
        return writer

    def test_of_a_series_that_goes_on_the_last_one_before_stays(
        self, points: Writer, path: Path
    ) -> None:
        for deleted in (19, 0):
            pruned = prune(points.paths, None, "3 days", now=datetime(2026, 1, 11))
            assert (pruned.points, pruned.done) == (deleted, True)
        assert query(
            path, "select series, list(value order by time) as values from metric_points "
            "group by all order by all"
        ) == [
            {"series": "deltas", "values": [7.0, 8.0, 9.0]},
            {"series": "goes on", "values": [6.0, 7.0, 8.0, 9.0]},
        ]  # fmt: skip

    def test_events_alone_leave_them(self, points: Writer) -> None:
        assert prune(points.paths, "3 days", now=datetime(2026, 1, 11)).points == 0


POINTS = """
drop table if exists metric_points;
create table metric_points (
    time timestamp, start_time timestamp, temporality varchar, value double, attributes variant,
    series varchar, writer varchar
);
insert into metric_points
select
    timestamp '2026-01-01' + to_days(day::integer), timestamp '2026-01-01',
    if(series = 'deltas', 'delta', 'cumulative'), day, '{"user": "ann", "n": 1}'::json::variant,
    series, 'me'
from range(10) as days(day), (values ('goes on'), ('ended'), ('deltas')) as all_series(series)
where series <> 'ended' or day < 6
"""


class TestByItself:
    """What a store does beside its drains."""

    def test_a_store_deletes_what_is_too_old(self, writer: Writer, path: Path) -> None:
        writer.call()  # by a clock that is years behind
        writer.drain()
        store = Store(path, keep_events="90 days", keep_rollups=timedelta(days=100))
        assert store.flush()
        assert (calls_in(path, "usage_events"), calls_in(path, "usage_1m")) == (0, 0)

    def test_a_store_that_was_told_nothing_keeps_everything(
        self, writer: Writer, path: Path
    ) -> None:
        writer.call()
        writer.drain()
        assert Store(path).flush()
        assert calls_in(path, "usage_events") == 1

    @pytest.mark.parametrize("keyword", ["keep_events", "keep_rollups"])
    def test_an_age_that_cannot_be_used_is_an_error(self, path: Path, keyword: str) -> None:
        with pytest.raises(atm.ConfigurationError, match=f"{keyword}='soon'"):
            Store(path, **{keyword: "soon"})  # type: ignore[arg-type]

    def test_it_looks_once_an_hour(
        self, writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks, mono = _watched(monkeypatch)
        kept = Retention("90 days", None, mono=lambda: mono[0])
        writer.call()
        writer.drain()
        for moment in (0.0, 1.0, 3_599.0, 3_600.0, 3_601.0):
            mono[0] = moment
            kept.tend(writer.paths)
        assert looks == [0.0, 3_600.0]

    def test_what_it_had_no_time_for_it_does_after_the_next_drain(
        self, daily: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "_PATIENCE_S", 0)
        looks, mono = _watched(monkeypatch)
        kept = Retention("1 day", None, mono=lambda: mono[0])
        for moment in (0.0, 1.0):
            mono[0] = moment
            kept.tend(daily.paths)
        assert looks == [0.0, 1.0]

    def test_before_there_is_a_file_it_does_nothing(self, writer: Writer) -> None:
        Retention("1 day", None).tend(writer.paths)
        assert not writer.paths.database.exists()

    def test_a_failure_is_counted_and_the_drain_goes_on(
        self, writers: Callable[..., Writer], path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise atm.StoreError("no")

        monkeypatch.setattr(retention, "prune", fail)
        writer = writers()
        writer.call()
        writer.drain()
        trouble = Trouble()
        assert Store(path, keep_events="1 day", trouble=trouble).flush()
        assert trouble.counts == {"retention": 1}


def _watched(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[float]]:
    """When `prune` is called, and a clock to be set."""
    mono, looks = [0.0], []
    real = retention.prune

    def watched(*args: Any, **keywords: Any) -> Any:
        looks.append(mono[0])
        return real(*args, **keywords)

    monkeypatch.setattr(retention, "prune", watched)
    return looks, mono
