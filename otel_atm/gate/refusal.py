"""Refusal: what the application is told of a call that is not let in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from otel_atm.budget import Budget
from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate.shape import Forbidden
from otel_atm.ledger import Balance, Key, Shortage, payer_keys
from otel_atm.window import FOREVER_NS, SECOND_NS, instant

#: What is shown in the place of a budget's name while an operator has stopped all calls.
STOPPED = "stop"
_STOPPERS = {
    "operator": "an operator",
    "application": "the application",
    "file": "the file of budgets",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of a call, and how the budget stands that decided it.

    Attributes:
        name: "allowed", "warned", "degraded" or "refused"; as in the column `decision`.
        budget: its name or canonical text; of an allowed call the one that has the least part of
            its limit left. None when no budget matches; then all below are None too.
        scope: the payer's value of each of its `by` keys.
        unit, window: the budget's.
        used, held, limit: in the budget's unit.
        resets_at: when its window ends, an aware datetime in UTC; None for one without end.
        retry_after_s: seconds until what was asked for may fit; 0 for a call that was let in,
            None when it never will.
    """

    name: str
    budget: str | None = None
    scope: dict[str, str] | None = None
    unit: str | None = None
    window: str | None = None
    used: float | None = None
    held: float | None = None
    limit: float | None = None
    resets_at: datetime | None = None
    retry_after_s: float | None = None


def decision_of(name: str, balances: Sequence[Balance]) -> Decision:
    """The decision on a call that was let in.

    Args:
        name: of the decision.
        balances: of its accounts, or of those that decided.
    """
    if not balances:
        return Decision(name)
    tightest = max(balances, key=lambda one: (one.used + one.held) / max(1, one.limit))
    budget = tightest.key.budget
    return Decision(
        name,
        budget.label,
        payer_of(tightest.key),
        budget.unit,
        budget.window,
        budget.shown(tightest.used),
        budget.shown(tightest.held),
        budget.shown(tightest.limit),
        ends_at(tightest.period.end_ns),
        0.0,
    )


def refusal_of(shortage: Shortage) -> TokenQuotaExceeded:
    """The error that says which budget is short, by how much, of whom and until when."""
    balance, budget = shortage.balance, shortage.balance.key.budget
    retry_ns = shortage.retry_ns
    return TokenQuotaExceeded(
        budget=budget.label,
        scope=payer_of(balance.key),
        unit=budget.unit,
        window=budget.window,
        requested=budget.shown(shortage.requested),
        used=budget.shown(balance.used),
        held=budget.shown(balance.held),
        limit=budget.shown(balance.limit),
        resets_at=ends_at(balance.period.end_ns),
        retry_after_s=(
            None if retry_ns is None else max(0, retry_ns - shortage.now_ns) / SECOND_NS
        ),
        reason=shortage.reason,
    )


def forbidden_by(forbidden: Forbidden, requested: int, now_ns: int) -> TokenQuotaExceeded:
    """The error for a call that a budget does not let in, whatever is left of it."""
    budget: Budget = forbidden.budget
    return TokenQuotaExceeded(
        budget=budget.label,
        scope={},
        unit=budget.unit,
        window=budget.window,
        requested=budget.shown(requested),
        used=0,
        held=0,
        limit=budget.limit,
        resets_at=ends_at(budget.clock.period_at(now_ns).end_ns),
        retry_after_s=None,
        reason=forbidden.reason,
    )


def stopped(requested: int, who: Iterable[str]) -> TokenQuotaExceeded:
    """The error while somebody has stopped all calls."""
    return TokenQuotaExceeded(
        budget=STOPPED,
        scope={},
        unit="tokens",
        window="lifetime",
        requested=requested,
        used=0,
        held=0,
        limit=0,
        resets_at=None,
        retry_after_s=None,
        reason=f"all calls are stopped by {' and '.join(_STOPPERS[one] for one in who)}",
    )


def payer_of(key: Key) -> dict[str, str]:
    """The payer's value of each key that the budget counts apart by."""
    named = zip(payer_keys(key.budget), key.values, strict=False)  # a trace may be left out
    return {name: value for name, value in named if value}


@lru_cache(maxsize=1_024)  # windows are few, refusals may be many
def ends_at(end_ns: int) -> datetime | None:
    """The end of a window; None for one without."""
    return None if end_ns >= FOREVER_NS else instant(end_ns)
