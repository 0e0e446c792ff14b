from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm import Usage
from otel_atm.usage import NOTHING

COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
tokens = st.integers(0, 2**40 - 1)


@given(tokens, tokens, tokens, tokens, tokens)
def test_the_total_is_input_and_output_and_adds_no_subset_again(
    sent: int, answered: int, read: int, written: int, reasoned: int
) -> None:
    assert Usage(sent, answered, read, written, reasoned).total_tokens == sent + answered


def test_a_call_of_which_nothing_is_said_used_nothing() -> None:
    assert Usage() == NOTHING == Usage(0, 0, 0, 0, 0, estimated=False)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [-1, 1.0, True, "1", None])
def test_a_count_is_an_integer_of_at_least_zero(name: str, count: Any) -> None:
    with pytest.raises(ValueError) as raised:
        Usage(**{name: count})
    assert str(raised.value) == f"{name} must be an integer ≥ 0, not {count!r}"


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_that_no_call_can_have_is_refused(name: str) -> None:
    assert getattr(Usage(**{name: 2**40 - 1}), name) == 2**40 - 1  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{name} must be less than 1,099,511,627,776, not 9,2"):
        Usage(**{name: 2**63})  # type: ignore[arg-type]


def test_usages_are_equal_by_value_and_can_be_counted_in_a_set() -> None:
    assert {Usage(1, 2), Usage(1, 2), Usage(1, 2, estimated=True)} == {
        Usage(1, 2),
        Usage(1, 2, estimated=True),
    }


@pytest.mark.parametrize("name", [*COUNTS, "estimated"])
def test_nothing_of_it_can_be_changed(name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(Usage(1, 2), name, 0)
