"""Budget: how much may be spent, by whom, in which window, and what happens then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from otel_atm import budget_text
from otel_atm.budget_fields import (
    ACTIONS,
    BLOCK_AT,
    MISSING,
    MODES,
    ON_ERROR,
    UNSET,
    Weights,
    above_of,
    alerts,
    block_at_of,
    clock_of,
    degrade_to_of,
    exactly,
    one_of,
    plain,
    terms_of,
    text_of,
    unknown_price_of,
    weights_of,
)
from otel_atm.budget_text import MICRO, Terms
from otel_atm.errors import BudgetError
from otel_atm.window import Window

Number = int | float | Decimal


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Budget:
    """A limit on tokens, requests or money, for each period of a window.

    Either a text or fields say what is limited; the other arguments go with both::

        Budget("500 tokens / minute per user")
        Budget(limit=500, unit="tokens", window="minute", by="user")
        Budget("50 USD / month per team where env=prod", action="warn", alert_at=[0.5, 0.8])

    The text is ``LIMIT UNIT / WINDOW [per KEY[, KEY…]] [where KEY=VALUE[, KEY=VALUE…]]``.
    ``str(budget)`` gives the canonical text, which reads back as a budget with the same limit,
    unit, window, by and match.

    Args:
        text: limit, unit, window, by and match in words.
        limit: the most that one period may spend, > 0, in `unit`. For USD any number with at most
            6 decimals, else whole. Also as text: "20k", "50 USD".
        unit: "tokens" (input and output), "input_tokens", "output_tokens", "requests" or "usd".
        window: "minute", "hour", "day", "week", "month", "rolling 5 minutes" and the like,
            "lifetime", "call", "trace" or "session". See `otel_atm.window.Window`.
        by: scope keys to count apart for each of their values, e.g. ``("user", "model")``. A
            window "trace" or "session" counts each trace or session apart besides.
        match: only calls whose values match these patterns, e.g. ``{"env": "prod", "user":
            "bot-*"}``: shell globs, in which case matters; "*" is any value but none. Several
            patterns for a key must all match. Each pattern for "tags" must match some tag.
        action: what happens to a call that does not fit. "block" refuses it, "warn" allows it and
            says so, "degrade" allows it up to `block_at` and advises `degrade_to`, "shadow" counts
            what "block" would have refused.
        mode: what a call is held at: "expected" what such calls use, "strict" what it can use at
            most.
        missing: of calls without a key of `by`: "shared" counts them together, "skip" leaves them
            out, "block" refuses them.
        on_error: when the ledger's store cannot be asked: "allow", "block", or "local", which
            counts in this process.
        alert_at: fractions of the limit, in (0, 1], also as "80%", that are told when reached;
            once in each period. At most 10.
        degrade_to: the model to advise; for the action "degrade", and only there.
        block_at: how many times the limit "degrade" allows, 1 to 1000.
        name: shown in errors, rows and metrics instead of the canonical text. Spend belongs to the
            name where there is one, else to all that says what is counted; never to the limit.
        tz: IANA name of the time zone whose calendar the window follows.
        week_start: the day that weeks start on: "monday" to "sunday".
        month_day: the day that months start on, 1 to 31, or the last one of a shorter month.
        weights: what a token of a kind counts, 0 to 1000; 1 for kinds that are not named. Kinds:
            "input" (neither read from nor written to a cache), "cache_read", "cache_write",
            "output" (without reasoning), "reasoning".
        on_unknown_price: under a limit in USD, for calls whose price is not known: "block",
            "allow" (at no cost), or a number: USD per million tokens. None: "block" for the
            actions "block" and "degrade", else "allow".

    Raises:
        BudgetError: for anything that cannot be read; it quotes what was given and where.
    """

    limit: int | float
    unit: str
    window: str
    by: tuple[str, ...]
    match: tuple[tuple[str, str], ...]
    action: str
    mode: str
    missing: str
    on_error: str
    alert_at: tuple[float, ...]
    degrade_to: str | None
    block_at: float
    name: str | None
    tz: str
    week_start: str
    month_day: int
    weights: tuple[tuple[str, int | float], ...]
    on_unknown_price: str | float | None
    cap: int
    """The limit in the unit that ledgers count: millionths of a USD, else the limit itself."""
    above: int = field(compare=False)
    """How much more than `cap` may be spent before calls are refused; 0 but for "degrade"."""
    clock: Window = field(compare=False)
    """What says when its periods start and end; one object for all budgets with the same."""
    identity: object = field(compare=False)
    """What spend belongs to: the name, else all that says what is counted; never the limit."""
    label: str = field(compare=False)
    """The name, else the canonical text."""
    _weights: Weights = field(compare=False)

    def __init__(
        self,
        text: str | None = None,
        /,
        *,
        limit: Number | str = UNSET,
        unit: str = UNSET,
        window: str = UNSET,
        by: str | Iterable[str] = UNSET,
        match: Mapping[str, str | Iterable[str]] = UNSET,
        action: str = "block",
        mode: str = "expected",
        missing: str = "shared",
        on_error: str = "allow",
        alert_at: Number | str | Iterable[Number | str] = (),
        degrade_to: str | None = None,
        block_at: Number = BLOCK_AT,
        name: str | None = None,
        tz: str = "UTC",
        week_start: str = "monday",
        month_day: int = 1,
        weights: Mapping[str, Number] | None = None,
        on_unknown_price: str | Number | None = None,
    ) -> None:
        fields = {"limit": limit, "unit": unit, "window": window, "by": by, "match": match}
        given = {key: value for key, value in fields.items() if value is not UNSET}
        if text is None:
            terms = terms_of(given)
        elif given:
            raise BudgetError(
                f"a budget is a text or fields, not both: also given {list(given)}", text
            )
        else:
            terms = budget_text.parse(text)
        action = one_of("action", action, ACTIONS)
        weighed = weights_of(weights, terms.unit)
        set_ = object.__setattr__
        for key, value in zip(Terms._fields, terms, strict=True):
            set_(self, key, value)
        set_(self, "limit", self.shown(terms.cap))
        set_(self, "action", action)
        set_(self, "mode", one_of("mode", mode, MODES))
        set_(self, "missing", one_of("missing", missing, MISSING))
        set_(self, "on_error", one_of("on_error", on_error, ON_ERROR))
        set_(self, "alert_at", alerts(alert_at))
        set_(self, "degrade_to", degrade_to_of(degrade_to, action))
        set_(self, "block_at", block_at_of(block_at, action))
        set_(self, "name", text_of("name", name))
        set_(self, "clock", clock_of(terms.window, tz, week_start, month_day))
        set_(self, "tz", tz)
        set_(self, "week_start", week_start)
        set_(self, "month_day", month_day)
        set_(self, "weights", tuple(sorted((kind, plain(of)) for kind, of in weighed.items())))
        set_(self, "on_unknown_price", unknown_price_of(on_unknown_price, terms.unit, action))
        set_(self, "identity", self.name or self._counted())
        set_(self, "above", above_of(terms.cap, self.block_at, action))
        set_(self, "label", self.name or budget_text.render(terms))
        set_(self, "_weights", exactly(weighed, terms.unit))

    def shown(self, amount: int) -> int | float:
        """An amount of a ledger in the budget's unit: in USD, or the amount itself."""
        if self.unit != "usd":
            return amount
        return amount // MICRO if amount % MICRO == 0 else amount / MICRO

    def weigh(self, tokens: tuple[int, int, int, int, int]) -> int:
        """What a call's tokens count, rounded up to a whole token.

        Args:
            tokens: input (with what was read from or written to a cache), output (with reasoning),
                cache_read, cache_write, reasoning.

        Returns:
            In the budget's unit; 0 if that does not count tokens.
        """
        given_in, given_out, cache_read, cache_write, reasoning = tokens
        scale, (for_input, for_read, for_write, for_output, for_reasoning) = self._weights
        weighed = (
            for_input * max(0, given_in - cache_read - cache_write)
            + for_read * cache_read
            + for_write * cache_write
            + for_output * max(0, given_out - reasoning)
            + for_reasoning * reasoning
        )
        return -(-weighed // scale)

    def _counted(self) -> tuple[object, ...]:
        clock = self.clock
        settings = (clock.tz, clock.week_start, clock.month_day)
        return (self.unit, self.window, *settings, self.weights, self.match, self.by)

    def _others(self) -> dict[str, Any]:
        """The arguments that were given besides the text, as far as they say anything."""
        usual = {
            **(Budget.__init__.__kwdefaults__ or {}),
            "weights": (),
            "on_unknown_price": unknown_price_of(None, self.unit, self.action),
        }
        names = [name for name, default in usual.items() if default is not UNSET]
        values = {name: getattr(self, name) for name in names}
        others = {name: value for name, value in values.items() if value != usual[name]}
        if self.weights:
            others["weights"] = dict(self.weights)
        return others

    def __hash__(self) -> int:
        return hash((self.label, self.cap))  # of all fields it would take ten times as long

    def __str__(self) -> str:
        return budget_text.render(Terms(self.cap, self.unit, self.window, self.by, self.match))

    def __repr__(self) -> str:
        others = [f", {name}={value!r}" for name, value in self._others().items()]
        return f"Budget({str(self)!r}{''.join(others)})"

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (str(self), self._others())  # so that copies share the clock, too


def _again(text: str, others: dict[str, Any]) -> Budget:
    return Budget(text, **others)


def read_budgets(budgets: Iterable[Budget | str]) -> tuple[Budget, ...]:
    """Budgets from budgets and texts.

    Raises:
        BudgetError: for a text that cannot be read, something that is neither, and two budgets of
            one identity (their spend would be one, with two limits).
    """
    if isinstance(budgets, str | Mapping) or not isinstance(budgets, Iterable):
        raise BudgetError(f"budgets={budgets!r}: expected a list of budgets or their texts")
    read: dict[object, Budget] = {}
    for given in budgets:
        budget = Budget(given) if isinstance(given, str) else given
        if not isinstance(budget, Budget):
            raise BudgetError(f"{given!r} is neither a Budget nor the text of one")
        twin = read.setdefault(budget.identity, budget)
        if twin is not budget:
            raise BudgetError(f"two budgets of one identity: {twin} and {budget}; name one of them")
    return tuple(read.values())
