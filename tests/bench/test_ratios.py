"""What metering costs, as ratios: asserted at twice what `make bench` should show."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import ledger, processor

pytestmark = pytest.mark.ratio


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder: Path = tmp_path_factory.mktemp("bench")
    return processor.added_cost(folder)


@pytest.fixture(scope="module")
def budgets() -> dict[str, float]:
    return ledger.ratios()


@pytest.mark.parametrize("name", sorted(processor.LIMITS))
def test_the_cost_added_to_a_call_is_at_most_twice_what_it_should_be(
    added: dict[str, float], name: str
) -> None:
    assert added[name] <= 2 * processor.LIMITS[name], added


@pytest.mark.parametrize("name", sorted({**ledger.LIMITS, **ledger.SELF_LIMITS}))
def test_so_is_that_of_the_budgets(budgets: dict[str, float], name: str) -> None:
    assert budgets[name] <= 2 * {**ledger.LIMITS, **ledger.SELF_LIMITS}[name], budgets


def test_a_user_takes_no_more_memory_than_it_should() -> None:
    # Fewer users than `make bench` has: what is bounded, as plans are, weighs more with them.
    assert ledger.bytes_per_user(200_000) <= 2 * ledger.MOST_BYTES
