"""The bound of what may wait beside a DuckDB file, and who goes without when it is reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from otel_atm.errors import ConfigurationError, StoreError
from otel_atm.gate import Call
from otel_atm.trouble import Trouble

DEFAULT_MAX_BYTES: Final = 1 << 30
_LEAST_BYTES: Final = 1 << 16
#: From this part of the bound on, rows of refused calls go; from the bound on, all new rows.
_NEARLY: Final = 0.9
#: The largest segment, and the most parts that a bound is cut into.
_SEGMENT_BYTES: Final = 16 << 20
_PARTS: Final = 8

_UNITS: Final = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS_1024: Final = {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


class Bound:
    """Says which rows there is still room for; not on the way of a call while there is.

    Args:
        spool: the folder, for messages.
        max_bytes: of the segments of all processes together.
        trouble: counts the rows that there is no room for.

    Attributes:
        nearly: rows of refused calls are dropped.
        full: all new rows are.
        segment_bytes: a segment is sealed when it is larger.
        trouble: as given; may be replaced.
    """

    def __init__(self, spool: Path, max_bytes: int, trouble: Trouble) -> None:
        self.nearly = self.full = False
        self.segment_bytes = min(_SEGMENT_BYTES, max_bytes // _PARTS)
        self.trouble = trouble
        self._spool, self._max_bytes = spool, max_bytes

    def measure(self, spooled_bytes: int) -> None:
        """Take note of what waits now."""
        self.nearly = spooled_bytes >= self._max_bytes * _NEARLY
        self.full = spooled_bytes >= self._max_bytes

    def drops(self, call: Call) -> bool:
        """Whether there is no room for the row of a call; it is counted then."""
        refused = call.outcome.decision == "refused"
        if not (self.full or (self.nearly and refused)):
            return False
        whose, reason = ("refused calls", "spool_full_refused") if refused else ("", "spool_full")
        error = StoreError(
            f"{self._spool} holds {_NEARLY if refused else 1:.0%} of spool_max_bytes="
            f"{self._max_bytes:,}: new rows{' of ' + whose if whose else ''} are dropped until "
            "a drain has made room"
        )
        self.trouble.note(reason, error, dropped=call.outcome.calls)
        return True


def read_bytes(name: str, value: object) -> int:
    """A number of bytes from what the user gave: an integer, or a text such as ``"500 MB"``.

    Raises:
        ConfigurationError: quotes what cannot be read, or is less than 64 KiB.
    """
    read = value if type(value) is int else None
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([\d_]+(?:\.\d+)?)\s*([kmgt]i?b|)\s*", value, re.IGNORECASE)
        if found is not None:
            read = int(float(found[1]) * (_UNITS | _UNITS_1024)[found[2].lower()])
    if read is None or read < _LEAST_BYTES:
        raise ConfigurationError(
            f'{name}={value!r}: expected bytes, at least {_LEAST_BYTES:,}, such as "500 MB"'
        )
    return read
