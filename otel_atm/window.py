"""Windows: the calendar periods that budgets count in.

Times are nanoseconds since the Unix epoch, in UTC, as OpenTelemetry's own. A period is half open:
its start belongs to it, its end to the next one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

SECOND_NS: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * SECOND_NS
_WEEK_NS: Final = 7 * _DAY_NS
_MONDAY_NS: Final = 4 * _DAY_NS  # 1970-01-05, the first Monday after the epoch

_FIXED_NS: Final = {"minute": 60 * SECOND_NS, "hour": 3_600 * SECOND_NS, "day": _DAY_NS}

#: The windows that a budget can have.
WINDOWS: Final = ("minute", "hour", "day", "week", "month")


class Period(NamedTuple):
    """One period of a window: [start_ns, end_ns)."""

    start_ns: int
    end_ns: int


def period_at(window: str, now_ns: int) -> Period:
    """The period of `window` that `now_ns` lies in.

    Weeks are ISO weeks (Monday to Sunday); months are those of the calendar.

    >>> period_at("minute", 61 * SECOND_NS)
    Period(start_ns=60000000000, end_ns=120000000000)
    """
    if window == "month":
        return _month_at(now_ns)
    length, offset = (_WEEK_NS, _MONDAY_NS) if window == "week" else (_FIXED_NS[window], 0)
    start = now_ns - (now_ns - offset) % length
    return Period(start, start + length)


def _month_at(now_ns: int) -> Period:
    first = instant(now_ns).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return Period(_nanoseconds(first), _nanoseconds(following))


def instant(time_ns: int) -> datetime:
    """`time_ns` as an aware datetime in UTC, cut to microseconds."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS
