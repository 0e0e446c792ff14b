"""How a budget stands, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from otel_atm.budget import Budget
from otel_atm.gate import BudgetStatus
from otel_atm.gate.status import status_of
from otel_atm.ledger import Balance, Key
from otel_atm.testing import ManualClock

DAILY = Budget("100 tokens / day per user", name="daily")
HOUR_NS = 3_600 * 1_000_000_000


def balance(used: int, *, budget: Budget = DAILY, limit: int | None = None) -> Balance:
    values = ("ann",) if budget.by else ()
    period = budget.clock.period_at(ManualClock()())
    return Balance(Key(budget, values), used, 5, limit or budget.cap, period)


def test_it_is_in_the_budgets_own_unit() -> None:
    noon = ManualClock()() + 12 * HOUR_NS
    assert status_of(balance(40), noon) == BudgetStatus(
        name="daily",
        scope={"user": "ann"},
        unit="tokens",
        used=40,
        held=5,
        limit=100,
        resets_at=datetime(2026, 1, 2, tzinfo=UTC),
        projected_exhaustion=None,
    )
    money = Budget("2.5 USD / month")
    status = status_of(balance(1_250_000, budget=money), noon)
    assert (status.used, status.limit, status.unit) == (1.25, 2.5, "usd")


def test_what_lasts_half_the_window_is_used_up_when_twice_the_time_has_passed() -> None:
    at_eight = ManualClock()() + 8 * HOUR_NS
    projected = status_of(balance(50), at_eight).projected_exhaustion
    assert projected == datetime(2026, 1, 1, 16, tzinfo=UTC)


def test_what_is_used_up_is_used_up_now() -> None:
    at_eight = ManualClock()() + 8 * HOUR_NS
    projected = status_of(balance(100), at_eight).projected_exhaustion
    assert projected == datetime(2026, 1, 1, 8, tzinfo=UTC)


def test_a_window_without_end_is_not_projected() -> None:
    ever = Budget("100 tokens / lifetime")
    status = status_of(balance(50, budget=ever), ManualClock()())
    assert (status.resets_at, status.projected_exhaustion) == (None, None)


@given(st.integers(0, 200), st.integers(0, 24 * 60))
def test_it_is_never_projected_into_the_past_or_past_the_window(used: int, minutes: int) -> None:
    now_ns = ManualClock()() + minutes * 60 * 1_000_000_000
    status = status_of(balance(used), now_ns)
    if status.projected_exhaustion is not None:
        assert status.resets_at is not None
        now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
        assert now <= status.projected_exhaustion <= max(now, status.resets_at)
