"""Status: how a budget stands for one payer, in the budget's own unit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from otel_atm.gate.refusal import ends_at, payer_of
from otel_atm.ledger import Balance
from otel_atm.window import FOREVER_NS, instant


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """What one payer has spent of one budget in its current window.

    Attributes:
        name: of the budget, else its canonical text.
        scope: the payer's value of each key that the budget counts apart by.
        unit: of the amounts: "tokens", "input_tokens", "output_tokens", "requests" or "usd".
        used: settled.
        held: for calls in flight.
        limit: of this payer in this window: the budget's, and what was granted besides.
        resets_at: when the window ends, an aware datetime in UTC; None for one without end.
        projected_exhaustion: when the limit is reached if spending goes on as it did on average
            since the window began; None if that is not before the window ends.
    """

    name: str
    scope: dict[str, str]
    unit: str
    used: float
    held: float
    limit: float
    resets_at: datetime | None
    projected_exhaustion: datetime | None


def status_of(balance: Balance, now_ns: int) -> BudgetStatus:
    """An account's balance, for people."""
    budget = balance.key.budget
    return BudgetStatus(
        budget.label,
        payer_of(balance.key),
        budget.unit,
        budget.shown(balance.used),
        budget.shown(balance.held),
        budget.shown(balance.limit),
        ends_at(balance.period.end_ns),
        _exhaustion(balance, now_ns),
    )


def _exhaustion(balance: Balance, now_ns: int) -> datetime | None:
    """Linear: the rest lasts as many times longer as it is larger than what was used."""
    start_ns, end_ns = balance.period
    if balance.used >= balance.limit:
        return instant(now_ns)
    if not balance.used or end_ns >= FOREVER_NS:
        return None
    elapsed_ns = max(1, now_ns - start_ns)
    at_ns = now_ns + elapsed_ns * (balance.limit - balance.used) // balance.used
    return instant(at_ns) if at_ns < end_ns else None
