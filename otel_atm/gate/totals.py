"""Totals: what metrics report, as plain integers that an observable instrument reads."""

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
    """Sums of one set of labels; they only ever rise."""

    __slots__ = ("calls", "input_tokens", "labels", "output_tokens")

    def __init__(self, labels: Labels | None) -> None:
        self.labels = labels  # None: of everything past the bound
        self.calls = self.input_tokens = self.output_tokens = 0


class Totals:
    """Every `Total`, at most `bound` of them; what comes after shares one without labels."""

    BOUND: Final = 2_000

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.unmetered = 0  # calls whose tokens are our estimate
        self._totals: dict[Labels | None, Total] = {}

    def of(self, labels: Labels) -> Total:
        """The total of these labels; add to it under `lock`."""
        total = self._totals.get(labels)
        if total is None:
            known = labels if len(self._totals) < self.BOUND else None
            total = self._totals.setdefault(known, Total(known))
        return total

    def all(self) -> list[Total]:
        """All totals, as they stand."""
        return list(self._totals.values())

    def renew(self) -> None:
        """Start at zero, with a new lock: in a forked child."""
        self.__init__()  # type: ignore[misc]  # all of its state is what a new one has
