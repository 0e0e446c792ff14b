"""Planner: which budgets a call falls under, and what it asks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.cache import Cache
from otel_atm.gate import estimate as estimates
from otel_atm.gate.plan import Account, Forbidden, Kind, Plan, labels_of
from otel_atm.gate.totals import Totals
from otel_atm.ledger import MONEY, REQUESTS, Amounts, Claim, Key, Ledger, Line
from otel_atm.matching import Matcher
from otel_atm.price import Price, Tokens, flat_price, micro_usd
from otel_atm.pricing import Prices

_TOKENS: Final = 0  # where they stand in `Amounts`
_MOST_CLAIMS: Final = 64  # remembered by a plan


class Planner:
    """Makes plans, and the claims of calls.

    Args:
        ledger: makes the claims.
        totals: for the plans.
        prices: None: no price is known.
        clock: nanoseconds since the Unix epoch.
    """

    def __init__(
        self, ledger: Ledger[Any], totals: Totals, prices: Prices | None, clock: Callable[[], int]
    ) -> None:
        self._ledger, self._totals, self._prices, self._clock = ledger, totals, prices, clock
        self._plans: Cache[Kind, Plan] = Cache(4_096)
        # (provider, model, operation) → the estimate that was learned last, of whichever payer
        self._learned: Cache[tuple[str | None, str | None, str], Tokens] = Cache(512)
        self.missing: dict[str, int] = {}  # budget's label → kinds that lack a key of its `by`

    def configure(self, budgets: Iterable[Budget], *, default_hold: int) -> None:
        """Plan under these budgets from now on."""
        self.budgets = budgets = tuple(budgets)
        self.default: Tokens = (default_hold // 2, default_hold - default_hold // 2, 0, 0, 0)
        self._matcher = Matcher(self.budgets)
        # Budgets that weigh alike have one place in the amounts.
        weighing = {(budget.unit, budget.weights): budget for budget in budgets if budget.weights}
        self._weighing = tuple(weighing.values())
        places = {terms: MONEY + 1 + place for place, terms in enumerate(weighing)}
        self._units = {b: places[b.unit, b.weights] for b in self.budgets if b.weights}
        #: Whether amounts have to be worked out that are not plain tokens.
        self.measures = bool(weighing) or any(b.unit == "usd" for b in self.budgets)
        self.nothing: Amounts = (0,) * (MONEY + 1 + len(weighing))
        self.forget()

    def forget(self) -> None:
        """Forget all plans, also those that others remember under `generation`."""
        self._plans.clear()
        self.generation = object()

    def plan(self, kind: Kind) -> Plan:
        """What is known of calls of this kind; remembered."""
        plan = self._plans.get(kind)
        if plan is None:
            generation = self.generation
            plan = self._make(kind)
            if generation is self.generation:  # nothing was changed meanwhile
                self._plans.put(kind, plan)
        return plan

    def amounts(
        self, tokens: Tokens, price: Price | None, at_ns: int, requests: int = 1
    ) -> Amounts:
        """What these tokens are in each unit; money in micro-USD, rounded up."""
        given, made = tokens[0], tokens[1]
        if not self.measures:
            return given + made, given, made, requests
        money = 0 if price is None else micro_usd(price.cost(tokens, at_ns))
        weighed = [budget.weigh(tokens) for budget in self._weighing]
        return given + made, given, made, requests, money, *weighed

    def claim(
        self, plan: Plan, estimate: Tokens, *, trace_id: int = 0, most_output: int | None = None
    ) -> Claim | None:
        """What a call asks of the accounts, when so much is expected of it.

        Args:
            plan: of the call's kind.
            estimate: of what it uses.
            trace_id: for budgets per trace.
            most_output: that it may have; None when that is not known.
        """
        if not plan.accounts:
            return None
        now_ns = self._clock()
        price = budget_price(plan)
        upper = estimate if most_output is None else (estimate[0], most_output, 0, 0, 0)
        lower = estimate if most_output is None else estimates.at_most(estimate, most_output)
        expected, bound = (self.amounts(tokens, price, now_ns) for tokens in (lower, upper))
        lines = []
        for key, unit in plan.accounts:
            budget = key.budget
            strict = budget.mode == "strict"
            amount = bound[unit] if strict else min(expected[unit], budget.cap)
            lines.append(Line(_of_trace(key, trace_id), unit, amount, strict or unit == REQUESTS))
        return self._claim(lines)

    def stated(self, plan: Plan, tokens: Tokens, *, whole: bool, trace_id: int = 0) -> Claim | None:
        """The claim of a call whose use the caller states: it fits or it is refused.

        Args:
            plan: of the call's kind.
            tokens: what it uses at most.
            whole: whether input and output are stated apart; else only their sum is.
            trace_id: for budgets per trace.
        """
        if not plan.accounts:
            return None
        amounts = self.amounts(tokens, budget_price(plan), self._clock())
        lines = []
        for key, unit in plan.accounts:
            exact = whole or unit in (_TOKENS, REQUESTS)
            amount = amounts[unit] if exact else min(amounts[unit], key.budget.cap)
            lines.append(Line(_of_trace(key, trace_id), unit, amount, exact))
        return self._claim(lines)

    def special(
        self, plan: Plan, trace_id: int, most_output: int | None
    ) -> tuple[Claim | None, Tokens]:
        """The claim of a call that says how much output it may have, or is counted by its trace."""
        key = trace_id if plan.traced else 0, most_output
        known = plan.claims.get(key)
        if known is None:
            claim = self.claim(plan, plan.estimate, trace_id=trace_id, most_output=most_output)
            if claim is None:
                return None, plan.estimate
            output = plan.estimate[1] if most_output is None else most_output
            known = claim, estimates.at_most(plan.estimate, output)
            if len(plan.claims) >= _MOST_CLAIMS:
                plan.claims.clear()
            plan.claims[key] = known
        return known

    def learn(self, plan: Plan) -> None:
        """Expect of the next calls what the recent ones used. One thread at a time."""
        learned, kind = estimates.learn(plan.recent), plan.kind
        self._learned.put((kind.provider, kind.model, kind.operation), learned)
        if not estimates.is_alike(plan.estimate, learned):
            self._expect(plan, learned)
        if len(plan.recent) > estimates.KEPT:
            del plan.recent[: -estimates.KEPT]

    def _claim(self, lines: list[Line]) -> Claim:
        claim: Claim = self._ledger.claim(lines)
        return claim

    def _expect(self, plan: Plan, estimate: Tokens) -> None:
        plan.estimate = estimate
        plan.claim, plan.claims = self.claim(plan, estimate), {}

    def _make(self, kind: Kind) -> Plan:
        price = None
        if self._prices is not None:
            price = self._prices.find(kind.provider, kind.model, self._clock())
        accounts, forbidden = [], None
        found = self._matcher.find(_values(kind), kind.scope.tags)
        for budget in found:
            values = tuple(_value(kind, key) for key in counted_by(budget))
            absent = [
                key for key, value in zip(counted_by(budget), values, strict=True) if not value
            ]
            if absent:
                self.missing[budget.label] = self.missing.get(budget.label, 0) + 1
                if budget.missing == "skip":
                    continue
                if budget.missing == "block":
                    forbidden = forbidden or Forbidden(budget, f"the call has no {absent[0]}")
            if budget.unit == "usd" and price is None:
                if budget.on_unknown_price == "allow":
                    continue
                if budget.on_unknown_price == "block":
                    reason = f"no price is known of the model {kind.model!r}"
                    forbidden = forbidden or Forbidden(budget, reason)
            accounts.append(Account(Key(budget, values), self._unit(budget)))
        total = self._totals.of(labels_of(kind, "allowed"))
        plan = Plan(kind, tuple(accounts), price, total, forbidden)
        learned = self._learned.get((kind.provider, kind.model, kind.operation))
        self._expect(plan, learned or self.default)
        return plan

    def _unit(self, budget: Budget) -> int:
        return self._units.get(budget) or _PLACES[budget.unit]


_PLACES: Final = {
    "tokens": _TOKENS,
    "input_tokens": 1,
    "output_tokens": 2,
    "requests": REQUESTS,
    "usd": MONEY,
}


def budget_price(plan: Plan) -> Price | None:
    """The price that budgets in USD count with: the model's, else what they say of unknown ones."""
    if plan.price is not None:
        return plan.price
    known = [account.key.budget.on_unknown_price for account in plan.accounts]
    numbers = [price for price in known if isinstance(price, int | float)]
    return flat_price(max(numbers)) if numbers else None


def counted_by(budget: Budget) -> tuple[str, ...]:
    """The keys that a budget counts apart by; "trace" for one per trace is left out."""
    if budget.window == "session" and "session" not in budget.by:
        return (*budget.by, "session")
    return budget.by


def _of_trace(key: Key, trace_id: int) -> Key:
    if key.budget.window != "trace":
        return key
    return key._replace(values=(*key.values, f"{trace_id:032x}" if trace_id else ""))


def _value(kind: Kind, key: str) -> str:
    """Of a budget's key: the payer's, or the call's own (provider, model); "" when absent."""
    if key == "model":
        return kind.model or ""
    if key == "provider":
        return kind.provider or ""
    return kind.scope.get(key) or ""


def _values(kind: Kind) -> dict[str, str | None]:
    return {**kind.scope, "provider": kind.provider, "model": kind.model}
