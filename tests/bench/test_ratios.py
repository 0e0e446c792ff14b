"""What metering costs, as ratios: asserted at twice what `make bench` should show."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.processor import LIMITS, added_cost

pytestmark = pytest.mark.ratio


@pytest.fixture(scope="module")
def ratios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder: Path = tmp_path_factory.mktemp("bench")
    return added_cost(folder)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_the_cost_added_to_a_call_is_at_most_twice_what_it_should_be(
    ratios: dict[str, float], name: str
) -> None:
    assert ratios[name] <= 2 * LIMITS[name], ratios
