"""Totals by label: what metrics report."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from otel_atm.ledger import Total


class Labels(NamedTuple):
    """What calls are told apart by in metrics: few values each, never a user or a session."""

    provider: str | None
    model: str | None
    app: str | None
    env: str | None
    team: str | None
    decision: str


class Totals:
    """A `Total` for each set of labels, at most `BOUND`; what comes after shares one under None."""

    BOUND: Final = 2_000

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start at zero, with a new lock: in a forked child."""
        self._lock = threading.RLock()  # a span may end within, by the garbage collector
        self._totals: dict[Labels | None, Total] = {}
        self._unmetered = 0

    def of(self, labels: Labels) -> Total:
        """The total of these labels."""
        total = self._totals.get(labels)
        if total is None:
            known = labels if len(self._totals) < self.BOUND else None
            total = self._totals.setdefault(known, Total())
        return total

    def all(self) -> list[tuple[Labels | None, Total]]:
        """All totals, as they stand."""
        return list(self._totals.items())

    @property
    def unmetered(self) -> int:
        """Calls whose tokens are our estimate."""
        return self._unmetered

    def add_unmetered(self) -> None:
        """One more."""
        with self._lock:
            self._unmetered += 1
