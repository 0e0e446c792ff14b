"""Seldom: what is logged at most once a minute, with how often it was so."""

from __future__ import annotations

import threading
from typing import Final

from otel_atm.trouble import logger
from otel_atm.window import SECOND_NS

_MINUTE_NS: Final = 60 * SECOND_NS
#: Of how many subjects is remembered when they were spoken of; past it the oldest are forgotten.
_MOST: Final = 1_024


class Seldom:
    """Warns of each subject at most once a minute; what comes between is counted and said then."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._said: dict[str, tuple[int, int]] = {}  # subject → when last; how often since

    def warn(self, subject: str, now_ns: int, message: str, *facts: object) -> None:
        """Log a message about a subject, unless that was done less than a minute ago.

        Args:
            subject: e.g. a budget.
            now_ns: nanoseconds since the Unix epoch.
            message: with a place for each of `facts`.
            facts: for the message.
        """
        with self._lock:
            last_ns, times = self._said.pop(subject, (None, 0))
            if last_ns is not None and 0 <= now_ns - last_ns < _MINUTE_NS:
                self._said[subject] = last_ns, times + 1
                return
            if len(self._said) >= _MOST:
                del self._said[next(iter(self._said))]
            self._said[subject] = now_ns, 0
        if times:
            message, facts = message + " (%s more times since this was last said)", (*facts, times)
        logger.warning(message, *facts)
