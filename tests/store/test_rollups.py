"""Roll-ups: one row for each key and bucket, whatever came when; and local days made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import otel_atm as atm
from otel_atm.store.paths import StorePaths
from otel_atm.testing import ManualClock
from tests.store.conftest import KEYS, Writer, assert_roll_ups_add_up, query

#: Tokens of an answer whose call is not known.
WITHOUT_CALL = (
    '[0,"{{""service"":null,""app"":null,""env"":null,""team"":null,""user_id"":""ann"",'
    '""session_id"":null,""provider"":""openai"",""model"":""gpt-5.1"",""operation"":""chat"",'
    '""status"":""ok"",""decision"":""allowed"",""budget"":null,""calls"":0,""attempts"":0,'
    '""estimated"":false,""revision"":0,""source"":""span"",""tags"":[],""attributes"":{{}},'
    '""price_version"":null,""rates"":null}}"\n'
    '[0,"0193-{number}",1767261601000000000,0,0,0,5000,null,[1,2,0,0,0],"0",0]\n'
)


def sizes(path: Path) -> list[int]:
    """How many rows the minutes have, and the hours."""
    counts = [query(path, f"select count(*) as n from usage_{unit}") for unit in ("1m", "1h")]
    return [row["n"] for (row,) in counts]


class TestRollUps:
    def test_of_one_drain_have_a_row_for_each_key_and_bucket(self, writer: Writer) -> None:
        for minute in range(3):
            for user in ("ann", "bob", None, "ann"):
                writer.call(user=user)
            writer.clock.advance(60 * minute)
        writer.drain()
        assert sizes(writer.paths.database) == [6, 3]
        assert_roll_ups_add_up(writer.paths.database)

    def test_of_several_drains_have_no_more(self, writer: Writer) -> None:
        for _ in range(4):
            writer.call(user="ann")
            writer.call()
            writer.drain()
        assert sizes(writer.paths.database) == [2, 2]
        assert_roll_ups_add_up(writer.paths.database)

    def test_take_what_comes_late_into_a_bucket_that_is_over(self, writer: Writer) -> None:
        open_call = writer.start(user="u0")
        for number in range(9):
            writer.call(user=f"u{number}")
        writer.drain()
        writer.clock.advance(3_600)
        writer.call()
        writer.drain()
        writer.end(open_call)
        writer.call()
        writer.drain()
        assert sizes(writer.paths.database) == [10, 10]
        assert_roll_ups_add_up(writer.paths.database)

    def test_that_cancel_vanish(self, writer: Writer) -> None:
        span = writer.start(user="ann")
        writer.lose()
        writer.drain()
        writer.end(span)
        writer.drain()
        assert sizes(writer.paths.database) == [1, 1]
        assert query(writer.paths.database, "select status from usage_1h") == [{"status": "ok"}]

    def test_keep_tokens_that_no_call_is_known_of(self, writer: Writer) -> None:
        for number in range(2):
            writer.paths.spool.mkdir(parents=True, exist_ok=True)
            segment = writer.paths.spool / f"0-{number}.segment"
            segment.write_text(WITHOUT_CALL.format(number=number))
            writer.drain()
        for unit in ("1m", "1h"):
            rows = query(writer.paths.database, f"select calls, total_tokens from usage_{unit}")
            assert rows == [{"calls": 0, "total_tokens": 6}]
        assert_roll_ups_add_up(writer.paths.database)

    @settings(max_examples=10)
    @given(data=st.data())
    def test_add_up_whatever_is_drained_when(
        self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        writer = Writer(tmp_path_factory.mktemp("any") / "tokens.duckdb", ManualClock())
        open_spans: list[Any] = []
        users = st.sampled_from(["ann", None])

        def begin() -> None:
            open_spans.append(writer.start(user=data.draw(users)))

        def end() -> None:
            if open_spans:
                writer.end(open_spans.pop(0), (5, 2))

        steps = [begin, begin, end, writer.lose, writer.drain, lambda: writer.clock.advance(50)]
        for step in data.draw(st.lists(st.sampled_from(steps), min_size=5, max_size=20)):
            step()
        writer.call()
        writer.drain()
        assert_roll_ups_add_up(writer.paths.database)
        writer.close()
        assert writer.trouble.counts == {}


def fill(paths: StorePaths, moments: list[datetime]) -> None:
    """One call at each of these times in UTC, drained in two halves."""
    writer = Writer(paths.database, ManualClock())
    for number, moment in enumerate(sorted(moments)):
        writer.clock.set(moment)
        writer.call(user="ann")
        if number == len(moments) // 2:
            writer.drain()
    writer.drain()
    writer.close()


ZONES = [
    "UTC", "Europe/Amsterdam", "America/New_York", "Asia/Kathmandu", "Asia/Kolkata",
    "Australia/Lord_Howe", "Pacific/Chatham", "America/St_Johns", "Pacific/Kiritimati",
]  # fmt: skip


#: On the days of 2026 on which clocks are changed.
MOMENTS = [
    datetime(2026, month, day, tzinfo=UTC) + timedelta(minutes=7 * number)
    for month, day in ((3, 8), (3, 29), (4, 4), (10, 25), (11, 1))
    for number in range(-60, 300)
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    paths = StorePaths.of(tmp_path_factory.mktemp("local") / "tokens.duckdb")
    fill(paths, MOMENTS)
    return paths.database


class TestLocalTime:
    """Against Python's own zones."""

    @pytest.mark.parametrize("zone", ZONES)
    @pytest.mark.parametrize(("unit", "shape"), [("day", "%Y-%m-%d"), ("hour", "%Y-%m-%d %H")])
    def test_each_call_is_on_its_day_and_in_its_hour(
        self, filled: Path, zone: str, unit: str, shape: str
    ) -> None:
        expected: dict[str, int] = {}
        for moment in MOMENTS:
            local = f"{moment.astimezone(ZoneInfo(zone)):{shape}}"
            expected[local] = expected.get(local, 0) + 1
        rows = query(
            filled,
            f"select strftime({unit}, '{shape}') as local, sum(calls)::int as calls "
            f"from usage_by_{unit}('{zone}') group by all",
        )
        assert {row["local"]: row["calls"] for row in rows} == expected

    def test_a_day_may_have_23_or_25_hours(self, filled: Path) -> None:
        rows = query(
            filled,
            "select (hour::date)::varchar as day, count(distinct hour) as hours "
            "from usage_by_hour('Europe/Amsterdam') "
            "where hour::date in ('2026-03-29', '2026-10-25') group by all order by all",
        )
        # In October the hour from 2 comes twice, and both are called so.
        assert rows == [{"day": "2026-03-29", "hours": 23}, {"day": "2026-10-25", "hours": 24}]
        count = "select count(distinct bucket) as hours from usage_1h where "
        day = "local_time(bucket, 'Europe/Amsterdam')::date = '2026-{}'"
        assert query(filled, count + day.format("03-29")) == [{"hours": 23}]
        assert query(filled, count + day.format("10-25")) == [{"hours": 25}]

    def test_columns_are_those_of_the_roll_ups(self, filled: Path) -> None:
        with atm.connect(filled) as db:
            usual = db.sql("from usage_1h").columns
            for unit in ("day", "hour"):
                assert db.sql(f"from usage_by_{unit}('UTC')").columns == [unit, *usual[1:]]
            assert usual[1:10] == KEYS.split(", ")

    def test_no_time_needs_pytz(self, filled: Path) -> None:
        with atm.connect(filled) as db:
            for query_ in (
                "select * from usage_by_hour('Asia/Tokyo')",
                "select local_time(min(ts), 'Asia/Tokyo') from usage_events",
            ):
                assert "TIMESTAMP WITH TIME ZONE" not in map(str, db.sql(query_).types)

    def test_a_zone_that_does_not_exist_is_quoted(self, filled: Path) -> None:
        with atm.connect(filled) as db, pytest.raises(duckdb.Error, match="Europe/Amsterdm"):
            db.sql("from usage_by_day('Europe/Amsterdm')")
