"""Totals: what metrics report, as plain integers that an observable instrument reads."""

from __future__ import annotations

import threading
from collections import deque
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
    """Every `Total`, at most `BOUND` of them; what comes after shares one without labels.

    Steps are put down as they come, without a lock, and added up when somebody looks.
    """

    BOUND: Final = 2_000
    _MOST_STEPS: Final = 32

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start at zero, with a new lock: in a forked child."""
        self._lock = threading.Lock()
        # (total, calls, input tokens, output tokens, unmetered calls) to add
        self._steps: deque[tuple[Total, int, int, int, int]] = deque()
        self._totals: dict[Labels | None, Total] = {}
        self._unmetered = 0

    def of(self, labels: Labels) -> Total:
        """The total of these labels, for `add`."""
        total = self._totals.get(labels)
        if total is None:
            known = labels if len(self._totals) < self.BOUND else None
            total = self._totals.setdefault(known, Total(known))
        return total

    def add(
        self, total: Total, calls: int, input_tokens: int, output_tokens: int, unmetered: int
    ) -> None:
        """Put down what one row adds, all ≥ 0. Safe from any thread: one append to a deque."""
        self._steps.append((total, calls, input_tokens, output_tokens, unmetered))
        if len(self._steps) >= self._MOST_STEPS:
            self._add_up()

    def all(self) -> list[Total]:
        """All totals, with every step so far."""
        self._add_up()
        return list(self._totals.values())

    def unmetered(self) -> int:
        """Calls whose tokens are our estimate."""
        self._add_up()
        return self._unmetered

    def _add_up(self) -> None:
        steps = self._steps
        with self._lock:
            while steps:
                total, calls, input_tokens, output_tokens, unmetered = steps.popleft()
                total.calls += calls
                total.input_tokens += input_tokens
                total.output_tokens += output_tokens
                self._unmetered += unmetered
