"""Totals by label: what metrics report."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple


class Labels(NamedTuple):
    """What calls are told apart by in metrics: few values each, never a user or a session."""

    provider: str | None
    model: str | None
    app: str | None
    env: str | None
    team: str | None
    decision: str


class Total:
    """Sums of calls that have something in common; they only ever rise.

    Attributes:
        cost: in pico-USD, of the calls whose price is known.
    """

    __slots__ = ("calls", "cost", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.calls = self.input_tokens = self.output_tokens = self.cost = 0


class Totals:
    """A `Total` for each set of labels, at most `BOUND`; what comes after shares one under None.

    Attributes:
        lock: for whoever adds to a total. It may be taken again by the thread that has it, since
            a span may end within, by the garbage collector.
    """

    BOUND: Final = 2_000

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start at zero, with a new lock: in a forked child."""
        self.lock = threading.RLock()
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
        with self.lock:
            self._unmetered += 1
