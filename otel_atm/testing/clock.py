"""A clock that stands still until it is told."""

from __future__ import annotations

from datetime import UTC, datetime


class ManualClock:
    """Nanoseconds since the Unix epoch, as `otel_atm` asks for them; only `advance` moves it.

    Args:
        start: where it stands at first.

    >>> clock = ManualClock()
    >>> clock.advance(seconds=1.5)
    >>> clock() - ManualClock()()
    1500000000
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now_ns = int(start.timestamp()) * 1_000_000_000

    def __call__(self) -> int:
        """The time."""
        return self.now_ns

    def advance(self, seconds: float) -> None:
        """Move it, backwards too."""
        self.now_ns += round(seconds * 1_000_000_000)

    def set(self, moment: datetime) -> None:
        """Put it somewhere else."""
        self.now_ns = round(moment.timestamp() * 1_000_000_000)
