"""Alerts: a payer has used a given part of a budget; told once for each window."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from otel_atm.gate.refusal import ends_at, payer_of
from otel_atm.ledger import Crossing
from otel_atm.trouble import Trouble, logger


@dataclass(frozen=True, slots=True)
class Alert:
    """A payer has used a part of a budget that the budget's `alert_at` names.

    Attributes:
        budget: its name, else its canonical text.
        scope: the payer's value of each of its `by` keys.
        level: the part, as in `alert_at`, e.g. 0.8.
        used, limit: in the budget's unit.
        unit, window: the budget's.
        resets_at: when the window ends, an aware datetime in UTC; None for one without end.
    """

    budget: str
    scope: dict[str, str]
    level: float
    used: float
    limit: float
    unit: str
    window: str
    resets_at: datetime | None

    def __str__(self) -> str:
        who = " ".join(f"{key}={value!r}" for key, value in self.scope.items()) or "all together"
        return (
            f"{who} used {self.used / self.limit:.0%} ({self.used:,} of {self.limit:,} "
            f"{self.unit.replace('_', ' ')}) [budget: {self.budget}]"
        )


Listener = Callable[[Alert], None]


class Alerts:
    """Tells listeners and the log, and counts.

    Attributes:
        counts: (budget, level) → how often it was told.
    """

    def __init__(self, trouble: Trouble) -> None:
        self.counts: dict[tuple[str, float], int] = {}
        self._trouble, self._lock = trouble, threading.RLock()
        self._listeners: tuple[Listener, ...] = ()

    def listen(self, listener: Listener) -> None:
        """Call `listener` for each alert, in the thread of the call that caused it."""
        self._listeners += (listener,)

    def replace(self, before: Listener | None, listener: Listener | None) -> None:
        """Call `listener` in the place of another."""
        others = tuple(one for one in self._listeners if one is not before)
        self._listeners = others if listener is None else (*others, listener)

    def tell(self, crossings: Sequence[Crossing]) -> None:
        """What the ledger has found; never raises."""
        for crossing in crossings:
            alert = _alert_of(crossing)
            with self._lock:
                key = alert.budget, alert.level
                self.counts[key] = self.counts.get(key, 0) + 1
            logger.warning("otel-atm: %s", alert)
            for listener in self._listeners:
                try:
                    listener(alert)
                except Exception as error:  # noqa: BLE001 - it must not reach the application
                    self._trouble.note("alert", error)

    def after_fork(self) -> None:
        """In a forked child: counts start at zero."""
        self.counts, self._lock = {}, threading.RLock()


def _alert_of(crossing: Crossing) -> Alert:
    balance, budget = crossing.balance, crossing.balance.key.budget
    return Alert(
        budget.label,
        payer_of(balance.key),
        crossing.level,
        budget.shown(balance.used),
        budget.shown(budget.cap),
        budget.unit,
        budget.window,
        ends_at(balance.period.end_ns),
    )
