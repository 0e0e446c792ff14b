"""Refusal: what the application is told of a shortage."""

from __future__ import annotations

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.ledger import Shortage
from otel_atm.window import SECOND_NS, instant


def refusal_of(shortage: Shortage) -> TokenQuotaExceeded:
    """The error that says which budget is short, by how much, of whom and until when."""
    balance, budget = shortage.balance, shortage.balance.key.budget
    payer = zip(budget.by, balance.key.values, strict=True)
    return TokenQuotaExceeded(
        budget=budget.label,
        scope={key: value for key, value in payer if value},
        unit=budget.unit,
        window=budget.window,
        requested=shortage.requested,
        used=balance.used,
        held=balance.held,
        limit=balance.limit,
        resets_at=instant(balance.period.end_ns),
        retry_after_s=max(0, balance.period.end_ns - shortage.now_ns) / SECOND_NS,
    )
