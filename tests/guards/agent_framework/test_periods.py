"""Keys of periods are those of the UTC calendar, and weeks are ISO weeks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.guards.agent_framework import day_key, month_key, week_key
from otel_atm.guards.agent_framework.periods import end_of, key_at, window_of
from otel_atm.window import SECOND_NS

moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(
    lambda naive: naive.replace(tzinfo=UTC)
)


def test_the_days_around_new_year_are_one_week() -> None:
    days = [datetime(2025, 12, 29, tzinfo=UTC) + timedelta(days=more) for more in range(8)]
    assert [week_key(day) for day in days] == ["2026-W01"] * 7 + ["2026-W02"]


@given(moments)
def test_a_week_is_the_iso_week(now: datetime) -> None:
    year, week, _ = date(now.year, now.month, now.day).isocalendar()
    assert week_key(now) == f"{year:04}-W{week:02}"


@pytest.mark.parametrize("key", [month_key, week_key, day_key])
@given(now=moments)
def test_a_period_ends_where_the_next_key_begins(key: object, now: datetime) -> None:
    window = window_of(key)  # type: ignore[arg-type]
    assert window is not None
    now_ns = int(now.timestamp()) * SECOND_NS
    ends, _ = end_of(window, now_ns)
    end_ns = int(ends.timestamp()) * SECOND_NS
    assert key_at(window, end_ns - 1) == key_at(window, now_ns) != key_at(window, end_ns)


def test_other_time_zones_are_counted_in_utc() -> None:
    late = datetime(2026, 4, 30, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert (month_key(late), day_key(late)) == ("2026-05", "2026-05-01")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"now=datetime.datetime\(2026, 1, 1, 0, 0\): expected"):
        day_key(datetime(2026, 1, 1))


def test_without_a_time_it_is_the_present() -> None:
    before, key, after = datetime.now(UTC), day_key(), datetime.now(UTC)
    assert day_key(before) <= key <= day_key(after)


def test_a_function_of_ones_own_is_none_of_ours() -> None:
    assert window_of(lambda: month_key()) is None
