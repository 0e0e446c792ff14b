"""What a ledger knows of budgets: their definitions, and which of a name is in force."""

from __future__ import annotations

import pytest

from otel_atm.budget import Budget
from otel_atm.ledger.definitions import Used, definition, in_force
from otel_atm.ledger.leased_book import about, budget_of, identity_of

DAY = Budget("5 tokens / day", name="limits")
MONTH = Budget("9 tokens / month", name="limits")
MONEY = Budget("9 USD / month", name="limits")
ALL = (DAY, MONTH, MONEY)


def test_a_definition_says_all_that_spend_belongs_to() -> None:
    budget = Budget(
        "5 tokens / month per user where env=prod",
        name="a",
        month_day=15,
        weights={"output": 4, "cache_read": 0.1},
    )
    assert definition(budget) == (
        "a: 5 tokens / month per user where env=prod "
        "(tz=UTC, month_day=15, cache_read × 0.1, output × 4)"
    )
    weekly = Budget("5 tokens / week", tz="Asia/Tokyo", week_start="sunday")
    assert definition(weekly) == "5 tokens / week (tz=Asia/Tokyo, week_start=sunday)"


@pytest.mark.parametrize(
    ("used", "found"),
    [
        ({}, ALL),  # all of it was long ago
        ({DAY: Used(10, 20)}, (DAY,)),
        ({DAY: Used(10, 20), MONTH: Used(0, 30)}, ALL),
        ({DAY: Used(10, 20), MONTH: Used(20, 50)}, (MONTH,)),
        ({DAY: Used(10, 20), MONTH: Used(20, 50), MONEY: Used(20, 50)}, ALL),
        ({DAY: Used(60, 70), MONTH: Used(20, 50), MONEY: Used(20, 60)}, (DAY,)),
    ],
)
def test_in_force_is_what_was_used_after_all_others_ended(
    used: dict[Budget, Used], found: tuple[Budget, ...]
) -> None:
    assert in_force(ALL, (), lambda budget: used.get(budget, Used())) == {"limits": [*found]}


def test_what_is_said_to_be_in_force_is_whatever_was_used() -> None:
    def never_asked(budget: Budget) -> Used:
        raise AssertionError(budget)

    assert in_force(ALL, [Budget("7 tokens / month", name="limits")], never_asked) == {
        "limits": [MONTH]
    }
    assert in_force([DAY], [MONTH], never_asked) == {"limits": []}
    assert in_force([DAY], [Budget("5 tokens / day")], never_asked) == {"limits": [DAY]}


@pytest.mark.parametrize("budget", ALL, ids=str)
def test_a_budget_is_read_as_it_was_written(budget: Budget) -> None:
    again = budget_of(about(budget))
    assert (again, identity_of(again)) == (budget, identity_of(budget))
