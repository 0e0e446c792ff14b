"""Trouble: what failed inside telemetry, counted, and said once.

Telemetry never breaks the application, so a failure in here ends in a count and one log record.
Neither repeats the text of an exception: it may quote a prompt.
"""

from __future__ import annotations

import logging
from typing import Final

from otel_atm.errors import StoreError

logger: Final = logging.getLogger("otel_atm")


class Trouble:
    """Counts failures by reason and logs each reason once.

    Attributes:
        counts: reason → how often.
        dropped: reason → how many events were lost by it.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.dropped: dict[str, int] = {}

    def count(self, reason: str) -> None:
        """Count a failure that has been said already."""
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def note(self, reason: str, error: BaseException, *, dropped: int = 0) -> None:
        """Count a failure, and `dropped` events with it; log it if it is the first of its reason.

        Args:
            reason: a short, fixed word, e.g. "spool_write"; a metric attribute.
            error: only its type, its place and an operating system's error number are logged.
            dropped: how many events this has lost.
        """
        self.count(reason)
        if dropped:
            self.dropped[reason] = self.dropped.get(reason, 0) + dropped
        if self.counts[reason] == 1:
            logger.error("otel-atm: %s failed and was passed over: %s", reason, _describe(error))


def _describe(error: BaseException) -> str:
    if isinstance(error, StoreError):
        return str(error)  # our own sentence: paths and what to do
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{code}{place}"
