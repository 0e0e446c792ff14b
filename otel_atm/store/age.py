"""Ages: for how long rows are kept, as people say it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from otel_atm.errors import ConfigurationError

_UNITS: Final = {
    ("h", "hour", "hours"): timedelta(hours=1),
    ("d", "day", "days"): timedelta(days=1),
    ("w", "week", "weeks"): timedelta(weeks=1),
    ("month", "months"): timedelta(days=30),
    ("y", "year", "years"): timedelta(days=365),
}
_UNIT_OF: Final = {word: unit for words, unit in _UNITS.items() for word in words}
_AGE: Final = re.compile(r"\s*(\d{1,7})\s*([a-z]+)\s*", re.IGNORECASE)
_LEAST: Final = timedelta(hours=1)
_MOST: Final = timedelta(days=365 * 1000)
#: What is kept for less is cut by whole hours, the rest by whole days.
_BY_DAY: Final = timedelta(days=2)


def read_age(name: str, age: str | timedelta | None) -> timedelta | None:
    """An age from what the user gave; None: for ever.

    Args:
        name: of the setting.
        age: e.g. "90 days", "90d", "2 years", "12 hours", or a timedelta. A month is 30 days, a
            year 365.

    Raises:
        ConfigurationError: quotes what cannot be read, or is less than an hour.
    """
    if age is None:
        return None
    length = age if isinstance(age, timedelta) else _parse(age)
    if length is None or not _LEAST <= length <= _MOST:
        raise ConfigurationError(
            f"{name}={age!r}: expected an age from an hour to 1000 years, e.g. '90 days', '12h', "
            "'2 years'"
        )
    return length


def _parse(age: object) -> timedelta | None:
    found = _AGE.fullmatch(age) if isinstance(age, str) else None
    unit = _UNIT_OF.get(found[2].lower()) if found else None
    try:
        return None if unit is None or found is None else int(found[1]) * unit
    except OverflowError:
        return None


def horizon(now: datetime, age: timedelta) -> datetime:
    """Where what is kept begins: the beginning of a day, of short ages that of an hour.

    So no hour, and of longer ages no day, is ever kept in part.

    Args:
        now: naive, in UTC.
        age: of what is kept.
    """
    try:
        since = (now - age).replace(minute=0, second=0, microsecond=0)
    except OverflowError:  # before the year 1
        return datetime.min
    return since if age < _BY_DAY else since.replace(hour=0)
