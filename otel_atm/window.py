"""Windows: the periods that budgets count in.

Times are nanoseconds since the Unix epoch, as OpenTelemetry's own. A period is half open: its
start belongs to it, its end to the next one. The periods of a window follow each other without a
gap, whatever the clocks of its time zone do.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

from otel_atm.errors import BudgetError

SECOND_NS: Final = 1_000_000_000
#: The end of what has none: the year 2262, the last moment that 63 bits can say.
FOREVER_NS: Final = (1 << 63) - 1
#: Of a rolling window: how many slots its length has.
SLOTS: Final = 30

CALENDAR: Final = ("minute", "hour", "day", "week", "month")
#: The windows that a budget can have, besides rolling ones such as "rolling 5 minutes".
WINDOWS: Final = (*CALENDAR, "lifetime", "call", "trace", "session")
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_ROLLING: Final = re.compile(rf"rolling(?: +([0-9]{{1,9}}))? +({'|'.join(_SECONDS)})s?")
_LONGEST_S: Final = 3_650 * 86_400
_DAY: Final = timedelta(days=1)
_ADVERBS: Final = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}


class Period(NamedTuple):
    """One period of a window: [start_ns, end_ns)."""

    start_ns: int
    end_ns: int


_FOREVER: Final = Period(0, FOREVER_NS)


@dataclass(frozen=True, slots=True)
class Window:
    """How a budget's time is cut into periods.

    Args:
        name: "minute", "hour", "day", "week" or "month" of the calendar; "rolling 5 minutes" and
            the like (seconds, minutes, hours, days, weeks; at most 3650 days); "lifetime"; or
            "call", "trace", "session", which a budget counts apart and which do not end.
        tz: IANA name of the time zone whose clocks and calendar count, e.g. "Europe/Berlin".
        week_start: the day that weeks start on, "monday" to "sunday".
        month_day: the day that months start on, 1 to 31; in a shorter month it is the last one.

    Attributes:
        name: canonical: "rolling 60 minutes" is "rolling hour".
        length_ns: of a rolling window; else 0.
        slots: how many periods before the current one still count. `SLOTS` of a rolling window,
            whose periods are slots of a 30th of its length: whatever span of that length one
            looks at, at most one limit is spent in it. Else 0.
        ends: whether its periods end; not so for "lifetime", "call", "trace" and "session".

    Raises:
        BudgetError: for a value that is none of these; it quotes the value and the nearest one.
    """

    name: str
    tz: str = "UTC"
    week_start: str = "monday"
    month_day: int = 1
    length_ns: int = field(init=False, repr=False, compare=False)
    slots: int = field(init=False, repr=False, compare=False)
    ends: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name, length_ns = _read(self.name)
        zone_of(self.tz)
        if self.week_start not in WEEKDAYS:
            _refuse("week_start", self.week_start, "one of", WEEKDAYS)
        if type(self.month_day) is not int or not 1 <= self.month_day <= 31:
            _refuse("month_day", self.month_day, "a day of the month, 1 to 31")
        derived = {
            "name": name,
            "length_ns": length_ns,
            "slots": SLOTS if length_ns else 0,
            "ends": bool(length_ns) or name in CALENDAR,
        }
        for attribute, value in derived.items():
            object.__setattr__(self, attribute, value)

    def period_at(self, now_ns: int) -> Period:
        """The period that `now_ns` lies in.

        Days, weeks and months go from local midnight to local midnight, so a day has 23 to 25
        hours; where a clock skips midnight, the day starts with the first moment it has. Hours and
        minutes are those that the clock shows; an hour that it shows twice is two periods.

        >>> Window("minute").period_at(61 * SECOND_NS)
        Period(start_ns=60000000000, end_ns=120000000000)
        """
        if self.length_ns:
            slot = -(-self.length_ns // SLOTS)
            start = now_ns - now_ns % slot
            return Period(start, start + slot)
        if not self.ends:
            return _FOREVER
        zone = zone_of(self.tz)
        if self.name in ("minute", "hour"):
            return _on_the_clock(now_ns // SECOND_NS, _SECONDS[self.name], zone)
        today = _date_at(now_ns // SECOND_NS, zone)
        first, following = self._days_around(today)
        return Period(_midnight(first, zone) * SECOND_NS, _midnight(following, zone) * SECOND_NS)

    def _days_around(self, today: date) -> tuple[date, date]:
        """The first day of the period that has `today`, and of the next one."""
        if self.name == "day":
            return today, today + _DAY
        if self.name == "week":
            first = today - _DAY * ((today.weekday() - WEEKDAYS.index(self.week_start)) % 7)
            return first, first + 7 * _DAY
        month = today.year * 12 + today.month - 1
        if today < self._first_of(month):
            month -= 1
        return self._first_of(month), self._first_of(month + 1)

    def _first_of(self, month: int) -> date:
        """The day that a month starts on; months are counted from the year 0."""
        year, index = divmod(month, 12)
        days = calendar.monthrange(year, index + 1)[1]
        return date(year, index + 1, min(self.month_day, days))


def instant(time_ns: int) -> datetime:
    """`time_ns` as an aware datetime in UTC, cut to microseconds."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


@lru_cache(maxsize=1_024)
def zone_of(tz: str) -> tzinfo:
    """The time zone of an IANA name.

    Raises:
        BudgetError: if there is none of this name; it quotes the name and the nearest ones.
    """
    if tz == "UTC":
        return UTC
    import zoneinfo  # costs a millisecond, which budgets in UTC need not spend

    try:
        return zoneinfo.ZoneInfo(tz)
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        known = sorted(zoneinfo.available_timezones(), key=lambda name: (len(name), name))
    wanted = str(tz).strip().replace(" ", "_").casefold()
    alike = [name for name in known if wanted in (name.casefold(), name.casefold().split("/")[-1])]
    alike = alike or get_close_matches(str(tz), known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, alike[:3]))}?" if alike else ""
    raise BudgetError(
        f'expected the IANA name of a time zone, e.g. "Europe/Berlin"{hint}', field="tz", given=tz
    )


# Names ----------------------------------------------------------------------------------------


def _read(name: object) -> tuple[str, int]:
    """The canonical name of a window, and its length in ns if it is a rolling one, else 0."""
    if not isinstance(name, str):
        _refuse("window", name, "one of", WINDOWS)
    if name in WINDOWS:
        return name, 0
    if name.split(" ")[0] != "rolling":
        _refuse("window", name, "one of", WINDOWS)
    found = _ROLLING.fullmatch(name)
    if not found:
        _refuse("window", name, "'rolling', a number and seconds, minutes, hours, days or weeks")
    length_s = int(found[1] or 1) * _SECONDS[found[2]]
    if not 0 < length_s <= _LONGEST_S:
        _refuse("window", name, "a length above 0 and of at most 3650 days")
    return _rolling(length_s), length_s * SECOND_NS


def _rolling(length_s: int) -> str:
    """A name for each length: of "rolling 60 minutes" and "rolling hour", the latter."""
    # One day is 24 hours, lest anybody takes it for one of the calendar.
    units = ("hour", "minute", "second") if length_s == 86_400 else ("day", "hour", "minute")
    unit = next((unit for unit in units if length_s % _SECONDS[unit] == 0), "second")
    count = length_s // _SECONDS[unit]
    return f"rolling {unit}" if count == 1 else f"rolling {count} {unit}s"


def nearest_window(word: str) -> str:
    """``; did you mean 'minute'?`` where a window is near, else nothing."""
    close = [_ADVERBS[word]] if word in _ADVERBS else get_close_matches(word, WINDOWS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _refuse(key: str, value: object, expected: str, known: tuple[str, ...] = ()) -> NoReturn:
    names = f" {', '.join(known)}" if known else ""
    if known is WINDOWS:
        names += " or 'rolling 5 minutes' and the like"
    word = str(value).lower()
    hint = nearest_window(word) if known is WINDOWS else ""
    if known is WEEKDAYS and (close := [day for day in known if day.startswith(word[:2])]):
        hint = f"; did you mean {close[0]!r}?"
    raise BudgetError(f"expected {expected}{names}{hint}", field=key, given=value)


# Clocks and calendars, in whole seconds -------------------------------------------------------


def _offset(time_s: int, zone: tzinfo) -> int:
    """What the clocks of a zone are ahead of UTC."""
    if zone is UTC:
        return 0
    ahead = datetime.fromtimestamp(time_s, zone).utcoffset()
    assert ahead is not None  # every zone that there is knows it
    return round(ahead.total_seconds())


def _turn(before_s: int, after_s: int, zone: tzinfo) -> int:
    """The moment between two at which the clocks were put forward or back."""
    offset = _offset(after_s, zone)
    while after_s - before_s > 1:
        middle = (before_s + after_s) // 2
        if _offset(middle, zone) == offset:
            after_s = middle
        else:
            before_s = middle
    return after_s


def _on_the_clock(now_s: int, length_s: int, zone: tzinfo) -> Period:
    """The minute or hour that a clock shows; putting it forward or back begins a new one."""
    offset = _offset(now_s, zone)
    start = now_s - (now_s + offset) % length_s
    end = start + length_s
    if _offset(start, zone) != offset:
        start = _turn(start, now_s, zone)
    if _offset(end - 1, zone) != offset:
        end = _turn(now_s, end - 1, zone)
    return Period(start * SECOND_NS, end * SECOND_NS)


def _date_at(now_s: int, zone: tzinfo) -> date:
    """The day whose midnight was the last one.

    That is the date on the calendar, unless a clock is put back over midnight: such as in St.
    John's until 2011, at one minute past. The first midnight counts then.
    """
    today = datetime.fromtimestamp(now_s, zone).date()
    if zone is UTC:
        return today
    while now_s < _midnight(today, zone):
        today -= _DAY
    while now_s >= _midnight(today + _DAY, zone):
        today += _DAY
    return today


@lru_cache(maxsize=4_096)  # many budgets ask for the same days
def _midnight(day: date, zone: tzinfo) -> int:
    """The first moment of a day: midnight, if the clock shows it."""
    first = datetime(day.year, day.month, day.day, tzinfo=zone)
    start_s = int(first.timestamp())
    if zone is UTC:
        return start_s
    # Of a time that the clock skips, fold=0 counts from before and fold=1 from after (PEP 495).
    other_s = int(first.replace(fold=1).timestamp())
    return _turn(other_s, start_s, zone) if other_s < start_s else start_s
