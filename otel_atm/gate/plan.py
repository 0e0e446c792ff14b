"""Plan: all that is known of calls of one kind, worked out once."""

from __future__ import annotations

from typing import Any, NamedTuple

from otel_atm.budget import Budget
from otel_atm.gate.totals import Labels, Total
from otel_atm.ledger import Claim, Key
from otel_atm.price import Price, Tokens
from otel_atm.scope import Scope
from otel_atm.semconv import ATM_DECISION, ATM_PREFIX, ATM_TAGS


class Kind(NamedTuple):
    """What makes two calls alike: the same payer, provider, model and operation."""

    scope: Scope
    provider: str | None
    model: str | None
    operation: str


class Account(NamedTuple):
    """One that calls of a kind draw on.

    Attributes:
        key: of the account; without the trace's id for a budget per trace.
        unit: where its unit stands in `otel_atm.ledger.Amounts`.
    """

    key: Key
    unit: int


class Forbidden(NamedTuple):
    """Why no call of a kind is let in, whatever is left.

    Attributes:
        budget: that forbids it.
        reason: a sentence's end, for the error.
    """

    budget: Budget
    reason: str


class Plan:
    """What the gate needs for each call of a kind.

    Attributes:
        accounts: of the budgets that match.
        claim: on them, for a call like the recent ones; None when no budget matches.
        claims: the same, by the most output that a call may have, or by its trace.
        estimate: what a call like the recent ones uses.
        recent: what they used, oldest first; bounded by `Planner`.
        price: None when it is not known.
        total: the metrics of calls that were allowed.
        span_attributes: for the call's spans, but for its id.
        complete: whether provider and model are known.
        traced: whether a budget counts apart by trace.
        forbidden: None when calls may be let in.
    """

    __slots__ = (
        "accounts",
        "claim",
        "claims",
        "complete",
        "estimate",
        "forbidden",
        "kind",
        "price",
        "recent",
        "span_attributes",
        "total",
        "traced",
    )

    def __init__(
        self,
        kind: Kind,
        accounts: tuple[Account, ...],
        price: Price | None,
        total: Total,
        forbidden: Forbidden | None,
    ) -> None:
        self.kind, self.accounts, self.price, self.total = kind, accounts, price, total
        self.forbidden = forbidden
        self.claim: Claim | None = None
        self.claims: dict[tuple[int, int | None], tuple[Claim, Tokens]] = {}
        self.estimate: Tokens = (0, 0, 0, 0, 0)
        self.recent: list[Tokens] = []
        self.span_attributes = _span_attributes(kind.scope)
        self.complete = kind.provider is not None and kind.model is not None
        self.traced = any(account.key.budget.window == "trace" for account in accounts)


def labels_of(kind: Kind, decision: str) -> Labels:
    """The metric labels of calls of this kind."""
    get = kind.scope.get
    return Labels(kind.provider, kind.model, get("app"), get("env"), get("team"), decision)


def _span_attributes(scope: Scope) -> dict[str, Any]:
    attributes: dict[str, Any] = {ATM_PREFIX + key: value for key, value in scope.items()}
    if scope.tags:
        attributes[ATM_TAGS] = scope.tags
    attributes[ATM_DECISION] = "allowed"  # last: a custom key of this name must not replace it
    return attributes
