"""The explorer finds what is there, all of it, by a shortest way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.models.explorer import Explored, Violation, explore, show

Pair = tuple[int, int]


def grid(state: Pair) -> Iterator[tuple[str, Pair]]:
    """Two counters up to 3, which go up by one, each when it likes."""
    left, right = state
    if left < 3:
        yield "left", (left + 1, right)
    if right < 3:
        yield "right", (left, right + 1)


def nothing(state: object) -> None:
    return None


def test_all_interleavings_are_walked_and_each_state_once() -> None:
    assert explore((0, 0), grid, nothing) == Explored(states=16, transitions=24, depth=6, ends=1)


def test_a_violation_comes_with_a_shortest_trace() -> None:
    with pytest.raises(Violation, match="both have moved") as caught:
        explore((0, 0), grid, lambda state: "both have moved" if all(state) else None)
    assert caught.value.trace == [("initially", (0, 0)), ("left", (1, 0)), ("right", (1, 1))]


def test_the_initial_state_is_checked_too() -> None:
    with pytest.raises(Violation) as caught:
        explore((0, 0), grid, lambda state: "bad")
    assert caught.value.trace == [("initially", (0, 0))]


def test_a_final_state_is_one_that_nothing_leads_on_from() -> None:
    seen: list[Pair] = []
    explore((0, 0), grid, nothing, final=lambda state: seen.append(state))
    assert seen == [(3, 3)]
    with pytest.raises(Violation, match="not there"):
        explore((0, 0), grid, nothing, final=lambda state: "not there")


def test_a_goal_that_cannot_be_reached_any_more_is_a_violation() -> None:
    def turnstile(state: Pair) -> Iterator[tuple[str, Pair]]:
        yield from grid(state)
        if state != (2, 0):
            yield "back", (0, 0)

    explore((0, 0), turnstile, nothing, goal=lambda state: state == (3, 3))
    explore((0, 0), turnstile, nothing, goal=lambda state: state == (0, 0))
    with pytest.raises(Violation, match="out of reach") as caught:
        explore((0, 0), grid, nothing, goal=lambda state: state == (1, 1))
    assert caught.value.trace[-1][1] == (2, 0)


def test_a_model_that_is_too_large_is_not_half_explored() -> None:
    assert explore((0, 0), grid, nothing, max_states=16).states == 16
    with pytest.raises(RuntimeError, match="more than 15 states"):
        explore((0, 0), grid, nothing, max_states=15)


def test_a_trace_shows_what_is_not_as_usual() -> None:
    class Light(NamedTuple):
        colour: str = "red"
        since: int = 0

    assert show((Light(), Light(since=3))) == "(Light(), Light(since=3))"
