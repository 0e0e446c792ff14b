"""Outcome: what became of a call, but for its tokens."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from otel_atm.ledger import LooseHold


class Ending(NamedTuple):
    """How a call failed, as a span tells it.

    Attributes:
        status: of the row.
        error_type: a class name or a code.
        free: whether the provider charges nothing for it.
    """

    status: str
    error_type: str
    free: bool


class Outcome(NamedTuple):
    """What became of a call, but for its tokens; columns of its row (see `UsageEvent`).

    Attributes:
        requested: what a refused call asked for, in the budget's unit.
        would_refuse: the budget that was used up when a call had to be let through all the same.
    """

    status: str = "ok"
    error_type: str | None = None
    estimated: bool = False
    decision: str = "allowed"
    budget: str | None = None
    requested: float | None = None
    calls: int = 1
    attempts: int = 1
    revision: int = 0
    would_refuse: str | None = None


#: Of nearly every call.
PLAIN: Final = Outcome()


def past_limits(hold: LooseHold) -> Outcome:
    """Of a call that was let in past the limit of a budget that does not block there."""
    by_action = {balance.key.budget.action: balance.key.budget for balance in hold.over}
    shadow = by_action.get("shadow")
    would_refuse = shadow.label if shadow is not None else None
    for action, decision in (("degrade", "degraded"), ("warn", "warned")):
        if action in by_action:
            budget = by_action[action].label
            return Outcome(decision=decision, budget=budget, would_refuse=would_refuse)
    return Outcome(would_refuse=would_refuse) if would_refuse else PLAIN


def status_of(kind: type[BaseException]) -> str:
    """Of the row of a call that ended by an error of this kind."""
    return "cancelled" if issubclass(kind, _ABANDONED) else "error"


_ABANDONED: Final = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)
