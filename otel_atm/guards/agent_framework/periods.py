"""Periods: the keys under which a quota counts, and when the usual ones end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

from otel_atm.window import SECOND_NS, Window, instant

#: Tells the key of the current period.
PeriodKeyFn: TypeAlias = Callable[[], str]


def month_key(now: datetime | None = None) -> str:
    """The month in UTC.

    Args:
        now: an aware datetime; None for the present.

    >>> from datetime import UTC, datetime
    >>> month_key(datetime(2026, 4, 14, tzinfo=UTC))
    '2026-04'
    """
    return _utc(now).strftime("%Y-%m")


def week_key(now: datetime | None = None) -> str:
    """The week in UTC, as ISO 8601 counts them: from Monday, and whole over New Year.

    Args:
        now: an aware datetime; None for the present.

    >>> from datetime import UTC, datetime
    >>> week_key(datetime(2025, 12, 31, tzinfo=UTC)), week_key(datetime(2026, 1, 1, tzinfo=UTC))
    ('2026-W01', '2026-W01')
    """
    return _utc(now).strftime("%G-W%V")


def day_key(now: datetime | None = None) -> str:
    """The day in UTC.

    Args:
        now: an aware datetime; None for the present.

    >>> from datetime import UTC, datetime
    >>> day_key(datetime(2026, 4, 14, tzinfo=UTC))
    '2026-04-14'
    """
    return _utc(now).strftime("%Y-%m-%d")


_WINDOWS: Final = ((month_key, "month"), (week_key, "week"), (day_key, "day"))


def window_of(period_key_fn: PeriodKeyFn) -> str | None:
    """The window that one of our three functions tells the key of; None for any other."""
    return next((window for known, window in _WINDOWS if period_key_fn is known), None)


def key_at(window: str, now_ns: int) -> str:
    """The key of the month, week or day that `now_ns` lies in."""
    known = {name: key for key, name in _WINDOWS}
    return known[window](instant(now_ns))


def end_of(window: str, now_ns: int) -> tuple[datetime, float]:
    """When the month, week or day ends that `now_ns` lies in, and in how many seconds."""
    end_ns = Window(window).period_at(now_ns).end_ns
    return instant(end_ns), (end_ns - now_ns) / SECOND_NS


def _utc(now: datetime | None) -> datetime:
    if now is None:
        return datetime.now(UTC)
    if now.tzinfo is None:
        raise ValueError(f"now={now!r}: expected a datetime with a time zone, e.g. tzinfo=UTC")
    return now.astimezone(UTC)
