"""Definitions: which of several budgets of one name is in force, as far as a ledger can know.

A name whose window, unit or payers were changed is another budget from then on, with accounts of
its own; the ledger keeps those of before. Names of budgets without a name are their texts, which do
not tell time zones and weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from otel_atm.budget import Budget
from otel_atm.ledger.leased_book import identity_of


class Used(NamedTuple):
    """The last window in which anybody has spent something; 0 to 0: never, or long ago."""

    start_ns: int = 0
    end_ns: int = 0


def definition(budget: Budget) -> str:
    """All that its spend belongs to, and its limit, in words; nothing else has the same."""
    others = [f"tz={budget.tz}"]  # always, so that it is never the text of another one
    if budget.week_start != "monday":
        others.append(f"week_start={budget.week_start}")
    if budget.month_day != 1:
        others.append(f"month_day={budget.month_day}")
    others += [f"{kind} × {weight}" for kind, weight in budget.weights]
    name = f"{budget.name}: " if budget.name else ""
    return f"{name}{budget} ({', '.join(others)})"


def in_force(
    known: Iterable[Budget], said: Iterable[Budget], used: Callable[[Budget], Used]
) -> dict[str, list[Budget]]:
    """The budgets of each label: one, or several where nobody can tell which is in force.

    Args:
        known: that a ledger has accounts of.
        said: that are in force for certain, e.g. since a file says so. A label that is in it, and
            is known only with other definitions, has none.
        used: when a budget was used last; asked only about labels of several.
    """
    named: dict[str, list[Budget]] = {}
    for budget in known:
        named.setdefault(budget.label, []).append(budget)
    certain = {budget.label: identity_of(budget) for budget in said}
    for label, budgets in named.items():
        if label in certain:
            named[label] = [one for one in budgets if identity_of(one) == certain[label]]
        elif len(budgets) > 1:
            named[label] = _latest(budgets, {identity_of(one): used(one) for one in budgets})
    return named


def _latest(budgets: Sequence[Budget], used: Mapping[str, Used]) -> list[Budget]:
    """The one that was used in a window after the last ones of all others; else all of them."""
    for budget in budgets:
        start_ns = used[identity_of(budget)].start_ns
        others = [used[identity_of(one)] for one in budgets if one is not budget]
        if start_ns and all(start_ns >= other.end_ns for other in others):
            return [budget]
    return list(budgets)
