from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from otel_atm.errors import BudgetError
from otel_atm.window import (
    CALENDAR,
    FOREVER_NS,
    SECOND_NS,
    SLOTS,
    WEEKDAYS,
    WINDOWS,
    Period,
    Window,
    instant,
)

DAY = timedelta(days=1)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # no midnight on the first day of summer time, until 2018
    "America/Havana",  # two midnights on the first day of winter time
    "America/St_Johns",  # put back over midnight, at 00:01, until 2011
    "Asia/Beirut",  # no midnight in spring
    "Asia/Gaza",  # several changes a year
    "Asia/Kolkata",  # half past
    "Asia/Kathmandu",  # quarter to
    "Australia/Lord_Howe",  # half an hour of summer time
    "Africa/Casablanca",  # winter time for one month
    "Antarctica/Troll",  # two hours of summer time
    "Pacific/Apia",  # 2011-12-30 was left out
    "Pacific/Kwajalein",  # 1993-08-21 was left out
    "Pacific/Kiritimati",
)


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


rolling = st.builds(
    lambda count, unit: f"rolling {count} {unit}s",
    st.integers(1, 500),
    st.sampled_from(["second", "minute", "hour", "day", "week"]),
)
windows = st.builds(
    Window,
    st.sampled_from(CALENDAR) | rolling,
    tz=st.sampled_from(ZONES),
    week_start=st.sampled_from(WEEKDAYS),
    month_day=st.integers(1, 31),
)
times = st.integers(ns(utc(1975, 1, 1)), ns(utc(2100, 1, 1)))


@st.composite
def near_a_change(draw: st.DrawFn) -> tuple[Window, int]:
    """A window, and a moment within two days of one at which its clocks were changed."""
    window, time_ns = draw(windows), draw(times)
    zone = ZoneInfo(window.tz)

    def offset(moment: datetime) -> timedelta | None:
        return moment.astimezone(zone).utcoffset()

    before = instant(time_ns)
    after = before + timedelta(days=200)
    assume(offset(before) != offset(after))
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        before, after = (middle, after) if offset(middle) == offset(before) else (before, middle)
    away = draw(st.integers(-48 * 60, 48 * 60) | st.integers(-70, 70))
    return window, ns(after) + away * 60 * SECOND_NS


moments = st.tuples(windows, times) | near_a_change()


def at(window: Window, moment: datetime) -> Period:
    return window.period_at(ns(moment))


class TestPeriods:
    @given(moments)
    @example((Window("day", "Pacific/Apia"), ns(utc(2011, 12, 30, 10))))
    @example((Window("week", "Pacific/Apia", week_start="friday"), ns(utc(2011, 12, 30, 9))))
    @example((Window("month", "Pacific/Apia", month_day=30), ns(utc(2011, 12, 30, 9))))
    @example((Window("day", "America/St_Johns"), ns(utc(2010, 11, 7, 2, 31))))
    def test_cut_time_into_pieces_without_a_gap(self, moment: tuple[Window, int]) -> None:
        window, now_ns = moment
        period = window.period_at(now_ns)
        assert period.start_ns <= now_ns < period.end_ns
        assert window.period_at(period.start_ns) == period == window.period_at(period.end_ns - 1)
        assert window.period_at(period.end_ns).start_ns == period.end_ns
        assert window.period_at(period.start_ns - 1).end_ns == period.start_ns

    @given(st.sampled_from(["day", "week", "month"]), moments)
    def test_of_days_start_with_the_first_moment_of_a_date(
        self, name: str, moment: tuple[Window, int]
    ) -> None:
        of, now_ns = moment
        window = Window(name, of.tz, of.week_start, of.month_day)
        start = instant(window.period_at(now_ns).start_ns).astimezone(ZoneInfo(of.tz))
        before = start.astimezone(UTC) - timedelta(seconds=1)
        assert before.astimezone(ZoneInfo(of.tz)).date() < start.date()

    @given(st.sampled_from(["minute", "hour"]), moments)
    def test_of_minutes_and_hours_are_what_the_clock_shows(
        self, name: str, moment: tuple[Window, int]
    ) -> None:
        of, now_ns = moment
        start_ns, end_ns = Window(name, of.tz).period_at(now_ns)
        first = instant(start_ns).astimezone(ZoneInfo(of.tz))
        last = instant(end_ns - SECOND_NS).astimezone(ZoneInfo(of.tz))
        assert first.utcoffset() == last.utcoffset()
        assert (first.date(), first.hour) == (last.date(), last.hour)
        assert name == "hour" or first.minute == last.minute

    @given(st.sampled_from(WEEKDAYS), times)
    def test_of_weeks_have_seven_days_from_the_one_they_start_on(
        self, week_start: str, now_ns: int
    ) -> None:
        start, end = map(instant, Window("week", week_start=week_start).period_at(now_ns))
        assert (WEEKDAYS[start.weekday()], end - start) == (week_start, 7 * DAY)

    @given(times)
    def test_of_weeks_are_iso_weeks_unless_told_otherwise(self, now_ns: int) -> None:
        start = instant(Window("week").period_at(now_ns).start_ns)
        assert start.isocalendar()[:2] == instant(now_ns).isocalendar()[:2]

    @given(st.integers(1, 31), times)
    def test_of_months_start_on_their_day_or_on_the_last_one(
        self, month_day: int, now_ns: int
    ) -> None:
        start = instant(Window("month", month_day=month_day).period_at(now_ns).start_ns)
        assert start.day == month_day or (start.day < month_day and (start + DAY).day == 1)
        assert instant(now_ns) - start + 31 * DAY >= 28 * DAY  # and it is not months ago
        assert instant(now_ns) - start < 31 * DAY

    @pytest.mark.parametrize("name", ["lifetime", "call", "trace", "session"])
    def test_that_do_not_end_are_all_time(self, name: str) -> None:
        window = Window(name, "Europe/Berlin")
        assert at(window, utc(2026, 1, 1)) == Period(0, FOREVER_NS) == Period(0, 2**63 - 1)
        assert (window.ends, window.slots, window.length_ns) == (False, 0, 0)


@pytest.mark.parametrize(
    ("name", "now", "start", "end"),
    [
        ("minute", utc(2026, 1, 1, 9, 41), utc(2026, 1, 1, 9, 41), utc(2026, 1, 1, 9, 42)),
        ("hour", utc(2026, 1, 1, 9, 41), utc(2026, 1, 1, 9), utc(2026, 1, 1, 10)),
        ("day", utc(2026, 12, 31, 23, 59), utc(2026, 12, 31), utc(2027, 1, 1)),
        ("week", utc(2026, 1, 1), utc(2025, 12, 29), utc(2026, 1, 5)),  # week 1 of 2026
        ("week", utc(2027, 1, 3), utc(2026, 12, 28), utc(2027, 1, 4)),  # week 53 of 2026
        ("month", utc(2026, 2, 10), utc(2026, 2, 1), utc(2026, 3, 1)),
        ("month", utc(2028, 2, 29), utc(2028, 2, 1), utc(2028, 3, 1)),  # a leap year
        ("month", utc(2100, 2, 28), utc(2100, 2, 1), utc(2100, 3, 1)),  # none
        ("month", utc(2026, 12, 31, 23, 59), utc(2026, 12, 1), utc(2027, 1, 1)),
    ],
)
def test_the_calendar(name: str, now: datetime, start: datetime, end: datetime) -> None:
    window = Window(name)
    assert at(window, now) == Period(ns(start), ns(end))
    assert (window.ends, window.slots, window.length_ns) == (True, 0, 0)


@pytest.mark.parametrize(
    ("month_day", "starts"),
    [
        (1, [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]),
        (15, [(1, 15), (2, 15), (3, 15), (4, 15), (5, 15)]),
        (29, [(1, 29), (2, 28), (3, 29), (4, 29), (5, 29)]),
        (30, [(1, 30), (2, 28), (3, 30), (4, 30), (5, 30)]),
        (31, [(1, 31), (2, 28), (3, 31), (4, 30), (5, 31)]),
    ],
)
def test_a_month_that_is_too_short_for_its_day_starts_on_its_last(
    month_day: int, starts: list[tuple[int, int]]
) -> None:
    window = Window("month", month_day=month_day)
    period = at(window, utc(2026, *starts[0]))
    found = []
    for _ in starts:
        found.append((instant(period.start_ns).month, instant(period.start_ns).day))
        period = window.period_at(period.end_ns)
    assert found == starts


@pytest.mark.parametrize("month_day", [1, 29, 30, 31])
@pytest.mark.parametrize(("year", "days"), [(2024, 366), (2026, 365), (2100, 365), (2000, 366)])
def test_twelve_months_are_a_year(year: int, days: int, month_day: int) -> None:
    window = Window("month", month_day=month_day)
    begin = end = at(window, utc(year, 1, 31)).start_ns
    for _ in range(12):
        end = window.period_at(end).end_ns
    assert instant(end) - instant(begin) == timedelta(days=days)


class TestTimeZones:
    @pytest.mark.parametrize(
        ("tz", "day", "start", "hours"),
        [
            ("Europe/Berlin", date(2026, 1, 1), utc(2025, 12, 31, 23), 24),
            ("Europe/Berlin", date(2026, 3, 29), utc(2026, 3, 28, 23), 23),
            ("Europe/Berlin", date(2026, 10, 25), utc(2026, 10, 24, 22), 25),
            ("America/New_York", date(2026, 3, 8), utc(2026, 3, 8, 5), 23),
            ("America/New_York", date(2026, 11, 1), utc(2026, 11, 1, 4), 25),
            ("Australia/Lord_Howe", date(2026, 4, 5), utc(2026, 4, 4, 13), 24.5),
            ("Australia/Lord_Howe", date(2026, 10, 4), utc(2026, 10, 3, 13, 30), 23.5),
            ("America/Sao_Paulo", date(2018, 11, 4), utc(2018, 11, 4, 3), 23),  # from 01:00
            ("America/Sao_Paulo", date(2018, 2, 17), utc(2018, 2, 17, 2), 25),
            ("Asia/Beirut", date(2026, 3, 29), utc(2026, 3, 28, 22), 23),  # from 01:00
            ("America/Havana", date(2026, 11, 1), utc(2026, 11, 1, 4), 25),  # 00:00 twice
            ("Pacific/Apia", date(2011, 12, 29), utc(2011, 12, 29, 10), 24),
            ("Pacific/Apia", date(2011, 12, 31), utc(2011, 12, 30, 10), 24),
            # From the first midnight on, though the clock shows the day before again.
            ("America/St_Johns", date(2010, 11, 7), utc(2010, 11, 7, 2, 30), 25),
        ],
    )
    def test_a_day_is_from_midnight_to_midnight(
        self, tz: str, day: date, start: datetime, hours: float
    ) -> None:
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(tz))
        expected = Period(ns(start), ns(start + timedelta(hours=hours)))
        assert at(Window("day", tz), noon) == expected

    @pytest.mark.parametrize(
        ("tz", "now", "start", "minutes"),
        [
            ("Asia/Kolkata", utc(2026, 1, 1, 9, 41), utc(2026, 1, 1, 9, 30), 60),
            ("Asia/Kathmandu", utc(2026, 1, 1, 9, 41), utc(2026, 1, 1, 9, 15), 60),
            # 02:00 to 02:59 is shown twice in Berlin
            ("Europe/Berlin", utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 0), 60),
            ("Europe/Berlin", utc(2026, 10, 25, 1, 30), utc(2026, 10, 25, 1), 60),
            # 01:30 to 01:59 is shown twice on Lord Howe
            ("Australia/Lord_Howe", utc(2026, 4, 4, 14, 45), utc(2026, 4, 4, 14), 60),
            ("Australia/Lord_Howe", utc(2026, 4, 4, 15, 15), utc(2026, 4, 4, 15), 30),
            # and 02:00 to 02:29 not at all
            ("Australia/Lord_Howe", utc(2026, 10, 3, 15, 45), utc(2026, 10, 3, 15, 30), 30),
            ("Australia/Lord_Howe", utc(2026, 10, 3, 16, 15), utc(2026, 10, 3, 16), 60),
        ],
    )
    def test_an_hour_is_one_of_the_clock(
        self, tz: str, now: datetime, start: datetime, minutes: int
    ) -> None:
        expected = Period(ns(start), ns(start + timedelta(minutes=minutes)))
        assert at(Window("hour", tz), now) == expected

    def test_a_week_and_a_month_begin_at_local_midnight(self) -> None:
        week = at(Window("week", "Asia/Tokyo", week_start="sunday"), utc(2026, 1, 3, 15))
        assert week == Period(ns(utc(2026, 1, 3, 15)), ns(utc(2026, 1, 10, 15)))
        month = at(Window("month", "America/New_York"), utc(2026, 3, 1, 5))
        assert month == Period(ns(utc(2026, 3, 1, 5)), ns(utc(2026, 4, 1, 4)))


class TestRolling:
    @given(rolling, times)
    def test_slots_before_the_current_one_cover_its_length(self, name: str, now_ns: int) -> None:
        window = Window(name)
        start_ns, end_ns = window.period_at(now_ns)
        assert (window.slots, window.ends) == (SLOTS, True)
        assert window.length_ns <= (end_ns - start_ns) * window.slots < window.length_ns + SLOTS
        assert start_ns % (end_ns - start_ns) == 0

    def test_does_not_depend_on_the_zone(self) -> None:
        now = utc(2026, 3, 29, 9, 41)
        assert at(Window("rolling hour", "Asia/Kolkata"), now) == at(Window("rolling hour"), now)

    @pytest.mark.parametrize(
        ("said", "name", "length_s"),
        [
            ("rolling minute", "rolling minute", 60),
            ("rolling 1 minute", "rolling minute", 60),
            ("rolling 60 seconds", "rolling minute", 60),
            ("rolling 90 seconds", "rolling 90 seconds", 90),
            ("rolling second", "rolling second", 1),
            ("rolling 5 minutes", "rolling 5 minutes", 300),
            ("rolling  05  minute", "rolling 5 minutes", 300),
            ("rolling 60 minutes", "rolling hour", 3_600),
            ("rolling hours", "rolling hour", 3_600),
            ("rolling 24 hours", "rolling 24 hours", 86_400),
            ("rolling day", "rolling 24 hours", 86_400),
            ("rolling 25 hours", "rolling 25 hours", 90_000),
            ("rolling 48 hours", "rolling 2 days", 172_800),
            ("rolling week", "rolling 7 days", 604_800),
            ("rolling 2 weeks", "rolling 14 days", 1_209_600),
            ("rolling 3650 days", "rolling 3650 days", 315_360_000),
        ],
    )
    def test_has_one_name_for_each_length(self, said: str, name: str, length_s: int) -> None:
        window = Window(said)
        assert (window.name, window.length_ns) == (name, length_s * SECOND_NS)
        assert Window(name) == window


ONE_OF = (
    "expected one of minute, hour, day, week, month, lifetime, call, trace, session "
    "or 'rolling 5 minutes' and the like"
)
ROLLING = "expected 'rolling', a number and seconds, minutes, hours, days or weeks"
LENGTH = "expected a length above 0 and of at most 3650 days"
ZONE = 'expected the IANA name of a time zone, e.g. "Europe/Berlin"'
OF_MONTH = "expected a day of the month, 1 to 31"


class TestWindow:
    @given(windows | st.builds(Window, st.sampled_from(WINDOWS)))
    def test_is_a_value(self, window: Window) -> None:
        again = pickle.loads(pickle.dumps(window))
        assert (again, hash(again), repr(again)) == (window, hash(window), repr(window))
        assert (again.slots, again.length_ns) == (window.slots, window.length_ns)

    def test_cannot_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            Window("day").name = "hour"  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"name": "dya"}, f"window='dya': {ONE_OF}; did you mean 'day'?"),
            ({"name": "daily"}, f"window='daily': {ONE_OF}; did you mean 'day'?"),
            ({"name": "Day"}, f"window='Day': {ONE_OF}; did you mean 'day'?"),
            ({"name": None}, f"window=None: {ONE_OF}"),
            *(
                ({"name": name}, f"window={name!r}: {ROLLING}")
                for name in ("rolling", "rolling month", "rolling 5", "rolling -5 days")
            ),
            *(
                ({"name": name}, f"window={name!r}: {LENGTH}")
                for name in ("rolling 0 days", "rolling 3651 days")
            ),
            (
                {"name": "day", "tz": "Europe/Berln"},
                (
                    f"tz='Europe/Berln': {ZONE}; did you mean 'Europe/Berlin' or 'Europe/Belfast' "
                    "or 'Europe/Helsinki'?"
                ),
            ),
            (
                {"name": "day", "tz": "berlin"},
                f"tz='berlin': {ZONE}; did you mean 'Europe/Berlin'?",
            ),
            ({"name": "call", "tz": "utc"}, f"tz='utc': {ZONE}; did you mean 'UTC' or 'Etc/UTC'?"),
            *(
                ({"name": "day", "tz": tz}, f"tz={tz!r}: {ZONE}")
                for tz in ("", "/etc/passwd", "../x", "\0", 5, None)
            ),
            (
                {"name": "week", "week_start": "Sun"},
                (
                    "week_start='Sun': expected one of monday, tuesday, wednesday, thursday, "
                    "friday, saturday, sunday; did you mean 'sunday'?"
                ),
            ),
            ({"name": "month", "month_day": 32}, f"month_day=32: {OF_MONTH}"),
            ({"name": "month", "month_day": True}, f"month_day=True: {OF_MONTH}"),
        ],
    )
    def test_of_what_there_is_not_is_refused(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(BudgetError) as raised:
            Window(**settings)
        assert str(raised.value) == message


@given(st.integers(0, ns(utc(2200, 1, 1))))
def test_an_instant_is_cut_to_microseconds(time_ns: int) -> None:
    moment = instant(time_ns)
    assert moment.tzinfo is UTC
    assert ns(moment) + moment.microsecond * 1_000 == time_ns // 1_000 * 1_000
