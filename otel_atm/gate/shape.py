"""Shape: what all payers' calls of one model share, worked out once for all of them."""

from __future__ import annotations

from typing import NamedTuple

from otel_atm.budget import Budget
from otel_atm.gate.totals import Total
from otel_atm.price import Price, Tokens


class Share(NamedTuple):
    """A budget that calls of a shape fall under, and what they ask of it.

    Attributes:
        names: the keys that it counts apart by, but for the trace.
        unit: where its unit stands in `otel_atm.ledger.Amounts`.
        amount, exact: as of `otel_atm.ledger.Line`, for the shape's estimate.
    """

    budget: Budget
    names: tuple[str, ...]
    unit: int
    amount: int
    exact: bool


class Forbidden(NamedTuple):
    """Why no call of a kind is let in, whatever is left.

    Attributes:
        budget: that forbids it.
        reason: a sentence's end, for the error.
    """

    budget: Budget
    reason: str


class Shape:
    """What calls have in common that differ in nothing but who pays.

    Attributes:
        shares: one for each budget that matches.
        price: None when it is not known.
        budget_price: what budgets in USD count with: the price, else what they say of unknown ones.
        total: the metrics of calls that were allowed.
        forbidden: None when calls may be let in.
        estimate: what such a call uses, as far as is known.
    """

    __slots__ = ("budget_price", "estimate", "forbidden", "price", "shares", "total")

    def __init__(
        self,
        price: Price | None,
        budget_price: Price | None,
        total: Total,
        forbidden: Forbidden | None,
        estimate: Tokens,
    ) -> None:
        self.price, self.budget_price, self.total = price, budget_price, total
        self.forbidden, self.estimate = forbidden, estimate
        self.shares: tuple[Share, ...] = ()
