from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.window import WINDOWS, Period, instant, period_at

windows = st.sampled_from(WINDOWS)
# 1970 to 2200; a ledger's clock does not run before the epoch
times = st.integers(min_value=0, max_value=7_258_118_400_000_000_000)


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def days_of(period: Period) -> tuple[datetime, datetime]:
    return instant(period.start_ns), instant(period.end_ns)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@given(windows, times)
def test_now_lies_in_its_period(window: str, now_ns: int) -> None:
    period = period_at(window, now_ns)
    assert period.start_ns <= now_ns < period.end_ns


@given(windows, times)
def test_every_moment_of_a_period_is_of_that_period(window: str, now_ns: int) -> None:
    period = period_at(window, now_ns)
    assert period_at(window, period.start_ns) == period == period_at(window, period.end_ns - 1)


@given(windows, times)
def test_periods_follow_each_other_without_a_gap(window: str, now_ns: int) -> None:
    period = period_at(window, now_ns)
    assert period_at(window, period.end_ns).start_ns == period.end_ns


@given(times)
def test_a_month_starts_on_the_first_and_has_28_to_31_days(now_ns: int) -> None:
    start, end = days_of(period_at("month", now_ns))
    assert (start.day, end.day) == (1, 1)
    assert (end - start).days in (28, 29, 30, 31)
    assert (start - end) % timedelta(days=1) == timedelta(0)


@given(times)
def test_a_week_is_an_iso_week(now_ns: int) -> None:
    start, end = days_of(period_at("week", now_ns))
    assert (start.isoweekday(), end - start) == (1, timedelta(days=7))
    assert start.isocalendar()[:2] == instant(now_ns).isocalendar()[:2]


@given(st.sampled_from(["minute", "hour", "day"]), times)
def test_the_others_are_cut_where_the_clock_on_the_wall_turns(window: str, now_ns: int) -> None:
    start, end = days_of(period_at(window, now_ns))
    zeros = {"minute": 0, "hour": 0, "day": 0, "second": 0, "microsecond": 0}
    cut = {name: zeros[name] for name in ("second", "microsecond")}
    cut |= {"minute": 0} if window != "minute" else {}
    cut |= {"hour": 0} if window == "day" else {}
    assert start == instant(now_ns).replace(**cut)
    assert end - start == timedelta(**{f"{window}s": 1})


@pytest.mark.parametrize(
    ("window", "now", "start", "end"),
    [
        ("minute", utc(2026, 1, 1, 9, 41), utc(2026, 1, 1, 9, 41), utc(2026, 1, 1, 9, 42)),
        ("hour", utc(2026, 1, 1, 9, 41), utc(2026, 1, 1, 9), utc(2026, 1, 1, 10)),
        ("day", utc(2026, 12, 31, 23, 59), utc(2026, 12, 31), utc(2027, 1, 1)),
        ("week", utc(2026, 1, 1), utc(2025, 12, 29), utc(2026, 1, 5)),  # week 1 of 2026
        ("week", utc(2027, 1, 3), utc(2026, 12, 28), utc(2027, 1, 4)),  # week 53 of 2026
        ("month", utc(2026, 2, 10), utc(2026, 2, 1), utc(2026, 3, 1)),
        ("month", utc(2028, 2, 29), utc(2028, 2, 1), utc(2028, 3, 1)),  # a leap year
        ("month", utc(2100, 2, 28), utc(2100, 2, 1), utc(2100, 3, 1)),  # none
        ("month", utc(2026, 1, 31), utc(2026, 1, 1), utc(2026, 2, 1)),
        ("month", utc(2026, 12, 31, 23, 59), utc(2026, 12, 1), utc(2027, 1, 1)),
    ],
)
def test_the_calendar(window: str, now: datetime, start: datetime, end: datetime) -> None:
    assert period_at(window, ns(now)) == Period(ns(start), ns(end))


@pytest.mark.parametrize(
    ("year", "days"), [(2024, 366), (2026, 365), (2028, 366), (2100, 365), (2000, 366)]
)
def test_twelve_months_are_a_year(year: int, days: int) -> None:
    now_ns = ns(utc(year, 1, 1))
    for _ in range(12):
        now_ns = period_at("month", now_ns).end_ns
    assert instant(now_ns) - utc(year, 1, 1) == timedelta(days=days)


@given(times)
def test_an_instant_is_cut_to_microseconds(time_ns: int) -> None:
    moment = instant(time_ns)
    assert moment.tzinfo is UTC
    assert ns(moment) + moment.microsecond * 1_000 == time_ns // 1_000 * 1_000
