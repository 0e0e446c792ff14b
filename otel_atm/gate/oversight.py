"""Oversight: how budgets stand, and what an operator may do about it while programs run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_atm.budget_text import MAX_LIMIT
from otel_atm.errors import ConfigurationError
from otel_atm.gate.plan import Plan
from otel_atm.gate.planner import Planner, counted_by
from otel_atm.gate.status import BudgetStatus, status_of
from otel_atm.ledger import Key, Ledger, Summary
from otel_atm.window import FOREVER_NS, SECOND_NS


class Oversight:
    """Looks at the accounts of the budgets in force, and changes them.

    Args:
        ledger: has the accounts.
        planner: knows the budgets.
        clock: nanoseconds since the Unix epoch.
    """

    def __init__(self, ledger: Ledger[Any], planner: Planner, clock: Callable[[], int]) -> None:
        self._ledger, self._planner, self._clock = ledger, planner, clock

    @property
    def missing(self) -> dict[str, int]:
        """Budget → how many kinds of calls lacked a key that it counts apart by."""
        return self._planner.missing

    def statuses(self) -> list[BudgetStatus]:
        """How each budget stands for each payer who has spent anything in its current window."""
        now_ns = self._clock()
        in_force = {budget.identity for budget in self._planner.budgets}
        return [
            status_of(balance, now_ns)
            for balance in self._ledger.balances(now_ns)
            if balance.key.budget.identity in in_force
        ]

    def advice(self, plan: Plan) -> str | None:
        """The model to use instead, where the next call of this kind is past a soft limit."""
        if plan.claim is None:
            return None
        balances = self._ledger.look(plan.claim, self._clock())
        for line, balance in zip(plan.claim.lines, balances, strict=True):
            spent = balance.used + balance.held + line.amount
            if line.key.budget.degrade_to is not None and spent > balance.limit:
                return line.key.budget.degrade_to
        return None

    def grant(self, budget: str, amount: float, payer: Mapping[str, str]) -> None:
        """Let a payer spend so much more, in the budget's unit, in the current window."""
        key = self.account(budget, payer)
        scale = round(key.budget.cap / key.budget.limit)
        if not _is_number(amount) or not 0 < abs(amount) * scale <= MAX_LIMIT:
            raise ConfigurationError(
                f"amount={amount!r}: expected a number other than 0, in {key.budget.unit}"
            )
        self._ledger.grant(key, round(amount * scale), self._clock())

    def reset(self, budget: str, payer: Mapping[str, str]) -> None:
        """Start a payer's current window again at zero."""
        self._ledger.reset(self.account(budget, payer), self._clock())

    def exempt(self, budget: str, for_s: float, payer: Mapping[str, str]) -> None:
        """Refuse a payer nothing for so many seconds; 0 ends it."""
        now_ns = self._clock()
        if not _is_number(for_s) or not 0 <= for_s * SECOND_NS <= FOREVER_NS - now_ns:
            raise ConfigurationError(f"for_s={for_s!r}: expected seconds ≥ 0")
        self._ledger.exempt(self.account(budget, payer), now_ns + int(for_s * SECOND_NS), now_ns)

    def account(self, budget: str, payer: Mapping[str, str]) -> Key:
        """What a payer's account is kept for.

        Args:
            budget: its name or canonical text.
            payer: a value for each key that the budget counts apart by.

        Raises:
            ConfigurationError: no such budget is in force, or it counts apart by other keys.
        """
        found = next((one for one in self._planner.budgets if budget in (one.name, str(one))), None)
        if found is None:
            known = ", ".join(repr(one.label) for one in self._planner.budgets) or "none"
            raise ConfigurationError(f"budget={budget!r}: expected one of those in force: {known}")
        keys = counted_by(found)
        if set(payer) != set(keys) or not all(isinstance(one, str) for one in payer.values()):
            raise ConfigurationError(
                f"{found.label!r} counts apart by {list(keys)}; given: {dict(payer)!r}"
            )
        return Key(found, tuple(payer[key] for key in keys))

    def summaries(self) -> list[Summary]:
        """How each budget stands; quick, however many payers it has."""
        return self._ledger.summaries(self._clock())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
