"""Plan: all that is known of calls of one kind, worked out once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from otel_atm.budget import Budget
from otel_atm.gate.totals import Labels, Totals
from otel_atm.ledger import Accounts, Key, Ledger, Total
from otel_atm.scope import Scope
from otel_atm.semconv import ATM_DECISION, ATM_PREFIX, ATM_TAGS


class Kind(NamedTuple):
    """What makes two calls alike: the same payer, provider, model and operation."""

    scope: Scope
    provider: str | None
    model: str | None
    operation: str

    def value(self, key: str) -> str | None:
        """Of a budget's key: the payer's, or the call's own (provider, model)."""
        if key == "model":
            return self.model
        if key == "provider":
            return self.provider
        return self.scope.get(key)


class Plan:
    """What the gate needs for each call of a kind.

    Attributes:
        accounts: of the budgets that match; None when none does.
        total: the metrics of calls that were allowed.
        span_attributes: for the call's spans, but for its id.
        complete: whether provider and model are known.
    """

    __slots__ = ("accounts", "complete", "kind", "span_attributes", "total")

    def __init__(self, kind: Kind, accounts: Accounts | None, total: Total) -> None:
        self.kind, self.accounts, self.total = kind, accounts, total
        self.span_attributes = _span_attributes(kind.scope)
        self.complete = kind.provider is not None and kind.model is not None


def make_plan(kind: Kind, budgets: Iterable[Budget], ledger: Ledger[Any], totals: Totals) -> Plan:
    """Find the budgets that match, and open the accounts."""
    keys = [
        Key(budget, tuple(kind.value(key) or "" for key in budget.by))
        for budget in budgets
        if all(kind.value(key) == wanted for key, wanted in budget.match)
    ]
    accounts = ledger.accounts(keys) if keys else None
    return Plan(kind, accounts, totals.of(labels_of(kind, "allowed")))


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
