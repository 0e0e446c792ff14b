"""Planner: which budgets a call falls under, and what it asks of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

from otel_atm.budget import Budget
from otel_atm.budget_text import TAGS
from otel_atm.cache import Cache
from otel_atm.gate import estimate as estimates
from otel_atm.gate.plan import Kind, Plan, labels_of
from otel_atm.gate.shape import Forbidden, Shape, Share
from otel_atm.gate.totals import Totals
from otel_atm.ledger import MONEY, REQUESTS, Amounts, Claim, Key, Ledger, Line, payer_keys
from otel_atm.matching import Matcher
from otel_atm.price import Price, Tokens, flat_price, micro_usd
from otel_atm.pricing import Prices

_TOKENS: Final = 0  # where they stand in `Amounts`
_MOST_CLAIMS: Final = 64  # remembered by a plan
_FLOOR: Final[Tokens] = (8, 8, 0, 0, 0)  # held for a call until a guard sees its request


class Planner:
    """Makes plans, and the claims of calls.

    Args:
        ledger: makes the claims.
        totals: for the plans.
        prices: None: no price is known.
        clock: nanoseconds since the Unix epoch.

    Attributes:
        generation: another object as soon as plans that somebody remembers no longer hold.
    """

    def __init__(
        self, ledger: Ledger[Any], totals: Totals, prices: Prices | None, clock: Callable[[], int]
    ) -> None:
        self._ledger, self._totals, self._prices, self._clock = ledger, totals, prices, clock
        self._plans: Cache[Kind, Plan] = Cache(16_384)
        self._shapes: Cache[Hashable, Shape] = Cache(1_024)
        # (provider, model, operation) → the estimate that was learned last, of whichever payer
        self._learned: Cache[tuple[str | None, str | None, str], Tokens] = Cache(512)
        self.missing: dict[str, int] = {}  # budget's label → kinds that lack a key of its `by`

    def configure(self, budgets: Iterable[Budget], *, default_hold: int) -> None:
        """Plan under these budgets from now on."""
        self.budgets = budgets = tuple(budgets)
        self.default: Tokens = (default_hold // 2, default_hold - default_hold // 2, 0, 0, 0)
        self._matcher = Matcher(self.budgets)
        wanted = {name for budget in self.budgets for name, _ in budget.match}
        self._by_tags = TAGS in wanted
        self._names = tuple(wanted - {TAGS, "provider", "model", "app", "env", "team"})
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
        self._shapes.clear()
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

    def special(
        self, plan: Plan, trace_id: int, most_output: int | None
    ) -> tuple[Claim | None, Tokens]:
        """The claim of a call that says how much output it may have, or is counted by its trace.

        Args:
            plan: of the call's kind.
            trace_id: for budgets per trace; 0 without one.
            most_output: None when that is not known.

        Returns:
            The claim, and what it expects of the call.
        """
        lower = upper = plan.estimate
        if most_output is not None:
            lower, upper = estimates.at_most(lower, most_output), (upper[0], most_output, 0, 0, 0)
        return self._remembered(plan, trace_id, most_output, (lower, upper), lower)

    def floor(self, plan: Plan, trace_id: int) -> tuple[Claim | None, Tokens]:
        """The claim of a call that a guard will soon know more about: very little."""
        return self._remembered(plan, trace_id, "floor", (_FLOOR, _FLOOR), plan.estimate)

    def requested(
        self, plan: Plan, read: int, most_output: int | None, trace_id: int
    ) -> tuple[Claim | None, Tokens]:
        """The claim of a call whose request is known.

        Args:
            plan: of the call's kind.
            read: about how many tokens its input has, 4 bytes of text each.
            most_output: None when the request does not bound it.
            trace_id: for budgets per trace.
        """
        made, given = plan.estimate[1], _rounded_up(read)
        least = made if most_output is None or made < most_output else most_output
        estimate = read, least, 0, 0, 0
        known = plan.claims.get((trace_id if plan.traced else 0, (given, most_output)))
        if known is not None or not plan.lines:
            return known and known[0], estimate
        most = made if most_output is None else most_output
        # No token is shorter than a byte.
        asked = (given, least, 0, 0, 0), (4 * given, most, 0, 0, 0)
        claim, _ = self._remembered(plan, trace_id, (given, most_output), asked, estimate)
        return claim, estimate

    def stated(self, plan: Plan, tokens: Tokens, *, whole: bool, trace_id: int = 0) -> Claim | None:
        """The claim of a call whose use the caller states: it fits or it is refused.

        Args:
            plan: of the call's kind.
            tokens: what it uses at most.
            whole: whether input and output are stated apart; else only their sum is.
            trace_id: for budgets per trace.
        """
        key = trace_id if plan.traced else 0, whole, tokens
        known = plan.claims.get(key)
        if known is not None or not plan.lines:
            return known and known[0]
        amounts = self.amounts(tokens, plan.shape.budget_price, self._clock())
        lines = []
        for account_key, unit, *_ in plan.lines:
            exact = whole or unit in (_TOKENS, REQUESTS)
            amount = amounts[unit] if exact else min(amounts[unit], account_key.budget.cap)
            lines.append(Line(_of_trace(account_key, trace_id), unit, amount, exact))
        return self._remember(plan, key, lines, tokens)[0]

    def learn(self, plan: Plan) -> None:
        """Expect of the next calls what the recent ones used. One thread at a time."""
        if len(plan.recent) < estimates.ENOUGH:
            return
        learned, kind = estimates.learn(plan.recent), plan.kind
        self._learned.put((kind.provider, kind.model, kind.operation), learned)
        if len(plan.recent) > estimates.KEPT:
            plan.recent.forget()
            plan.batch = estimates.LATER
        shape = plan.shape
        if not estimates.is_alike(shape.estimate, learned):
            shape.shares, shape.estimate = self._asked(shape, learned, learned), learned
        if not estimates.is_alike(plan.estimate, learned):
            plan.estimate, plan.claims = learned, {}
            if plan.claim is not None:
                plan.claim = self._claim(self._lines(plan, learned, learned, 0))

    def _lines(self, plan: Plan, lower: Tokens, upper: Tokens, trace_id: int) -> list[Line]:
        shares = {share.budget: share for share in self._asked(plan.shape, lower, upper)}
        asked = [(line, shares[line.key.budget]) for line in plan.lines]
        return [
            Line(_of_trace(line.key, trace_id), line.unit, share.amount, share.exact)
            for line, share in asked
        ]

    def _claim(self, lines: list[Line]) -> Claim:
        claim: Claim = self._ledger.claim(lines)
        return claim

    def _remembered(
        self,
        plan: Plan,
        trace_id: int,
        what: Hashable,
        asked: tuple[Tokens, Tokens],
        estimate: Tokens,
    ) -> tuple[Claim | None, Tokens]:
        """The claim of calls that have this in common, and what is expected of them."""
        key = trace_id if plan.traced else 0, what
        known = plan.claims.get(key)
        if known is not None or not plan.lines:
            return known or (None, plan.estimate)
        return self._remember(plan, key, self._lines(plan, *asked, trace_id), estimate)

    def _remember(
        self, plan: Plan, key: Hashable, lines: list[Line], estimate: Tokens
    ) -> tuple[Claim, Tokens]:
        known = self._claim(lines), estimate
        if len(plan.claims) >= _MOST_CLAIMS:
            plan.claims.clear()
        plan.claims[key] = known
        return known

    def _make(self, kind: Kind) -> Plan:
        get = kind.scope.get
        key = (
            *kind[1:],
            get("app"),
            get("env"),
            get("team"),
            kind.scope.tags if self._by_tags else (),
            *[get(name) for name in self._names],
        )
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shape(kind)
            self._shapes.put(key, shape)
        return self._make_of(kind, shape)

    def _make_of(self, kind: Kind, shape: Shape) -> Plan:
        lines, forbidden, traced = [], shape.forbidden, False
        for budget, names, unit, amount, exact in shape.shares:
            values = tuple([kind.value(name) for name in names])
            if "" in values:
                absent = names[values.index("")]
                self.missing[budget.label] = self.missing.get(budget.label, 0) + 1
                if budget.missing == "skip":
                    continue
                if budget.missing == "block":
                    forbidden = forbidden or Forbidden(budget, f"the call has no {absent}")
            lines.append(Line(Key(budget, values), unit, amount, exact))
            traced = traced or budget.window == "trace"
        claim = self._ledger.claim(lines) if lines and not traced else None
        plan = Plan(kind, shape, tuple(lines), claim, forbidden)
        plan.traced = traced
        return plan

    def _shape(self, kind: Kind) -> Shape:
        price = None
        if self._prices is not None:
            price = self._prices.find(kind.provider, kind.model, self._clock())
        budgets, forbidden, assumed = [], None, price
        for budget in self._matcher.find(_values(kind), kind.scope.tags):
            if budget.unit == "usd" and price is None:
                unknown = budget.on_unknown_price
                if unknown == "allow":
                    continue
                if isinstance(unknown, int | float):
                    assumed = assumed or flat_price(unknown)
                else:
                    reason = f"no price is known of the model {kind.model!r}"
                    forbidden = forbidden or Forbidden(budget, reason)
            budgets.append(budget)
        total = self._totals.of(labels_of(kind, "allowed"))
        learned = self._learned.get((kind.provider, kind.model, kind.operation))
        shape = Shape(price, assumed, total, forbidden, learned or self.default)
        shape.shares = tuple(
            Share(budget, counted_by(budget), self._unit(budget), 0, False) for budget in budgets
        )
        shape.shares = self._asked(shape, shape.estimate, shape.estimate)
        return shape

    def _asked(self, shape: Shape, lower: Tokens, upper: Tokens) -> tuple[Share, ...]:
        """What a call asks of the budgets: `upper` of strict ones, of others `lower`."""
        now_ns, price = self._clock(), shape.budget_price
        expected, bound = (self.amounts(tokens, price, now_ns) for tokens in (lower, upper))
        return tuple(
            share._replace(
                amount=bound[share.unit]
                if share.budget.mode == "strict"
                else min(expected[share.unit], share.budget.cap),
                exact=share.budget.mode == "strict" or share.unit == REQUESTS,
            )
            for share in shape.shares
        )

    def _unit(self, budget: Budget) -> int:
        return self._units.get(budget) or _PLACES[budget.unit]


_PLACES: Final = {
    "tokens": _TOKENS,
    "input_tokens": 1,
    "output_tokens": 2,
    "requests": REQUESTS,
    "usd": MONEY,
}


def _rounded_up(amount: int) -> int:
    """By a sixteenth at most, so that requests of about one size share a claim."""
    shift = amount.bit_length() - 5
    return amount if shift <= 0 else -(-amount >> shift) << shift


def counted_by(budget: Budget) -> tuple[str, ...]:
    """The keys that a budget counts apart by; "trace" for one per trace is left out."""
    keys = payer_keys(budget)
    return keys[:-1] if budget.window == "trace" else keys


def _of_trace(key: Key, trace_id: int) -> Key:
    if key.budget.window != "trace":
        return key
    return key._replace(values=(*key.values, f"{trace_id:032x}" if trace_id else ""))


def _values(kind: Kind) -> dict[str, str | None]:
    return {**kind.scope, "provider": kind.provider, "model": kind.model}
