"""Leases: a fleet never admits more than its limit, whatever gets lost, late or killed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.models.explorer import Violation, explore
from tests.models.lease_model import Account, Fault, Leases, decide
from tests.models.rolling_model import Rolling

#: What is explored, and how many states it has: with fewer, something would not be tried any more.
FLEETS = {
    "two nodes share a budget of 4": (
        Leases(limits=(4,), sizes=(1, 2), on_the_way=1, deaths=0),
        94_337,
    ),
    "one of two nodes dies": (Leases(limits=(3,), sizes=(1, 2), on_the_way=1), 73_249),
    "messages overtake each other": (Leases(limits=(2,), sizes=(1,), on_the_way=2), 126_174),
    "three nodes, two of them die": (
        Leases(nodes=3, limits=(2,), sizes=(1,), on_the_way=1, deaths=2),
        85_358,
    ),
    "calls use more than was held for them": (
        Leases(limits=(2,), sizes=(1, 2), on_the_way=1, overrun=1),
        34_479,
    ),
    "a window turns while calls are out": (
        Leases(limits=(1, 1), plans=((0,), (1,)), sizes=(1,), want=0, on_the_way=1),
        193_906,
    ),
    "a call is charged to two budgets": (
        Leases(limits=(1, 1), plans=((0, 1),), sizes=(1,), want=0, on_the_way=1),
        51_456,
    ),
    "an operator resets the budget": (
        Leases(limits=(1, 1), plans=((0,), (1,)), sizes=(1,), want=0, on_the_way=1, resets=True),
        27_501,
    ),
}

#: The smallest fleets in which each fault passes the limit. Without it those above contain them.
ONE_CALL = Leases(limits=(1,), sizes=(1,), want=0, deaths=0)
TWO_WINDOWS = replace(ONE_CALL, limits=(1, 1), plans=((0,), (1,)), on_the_way=1)
FATAL = {
    Fault.STORE_TAKES_OLD_MESSAGES: ONE_CALL,
    Fault.NODE_TAKES_OLD_ANSWERS: ONE_CALL,
    Fault.MESSAGES_ARE_DIFFERENCES: ONE_CALL,
    Fault.SPENDS_WHILE_ASKING: ONE_CALL,
    Fault.NO_LIMIT: ONE_CALL,
    Fault.BURIES_FROM_LAST_MESSAGE: replace(ONE_CALL, deaths=1),
    Fault.BURIES_THE_LIVING: ONE_CALL,
    Fault.CELL_AFTER_THE_CALL: replace(ONE_CALL, deaths=1),
    Fault.LATE_SETTLE_IN_NEW_WINDOW: TWO_WINDOWS,
    Fault.STORE_FORGETS: ONE_CALL,
    Fault.EPOCH_IGNORED: replace(TWO_WINDOWS, resets=True),
    Fault.ANSWER_WITHOUT_EPOCH: replace(TWO_WINDOWS, resets=True),
    Fault.GRANTS_IN_OLD_SLOT: Rolling.of(limit=1, lag=1),
}


@pytest.mark.parametrize("name", FLEETS)
def test_the_limit_holds_however_steps_interleave_when(name: str) -> None:
    fleet, states = FLEETS[name]
    assert explore(fleet.initial, fleet.steps, fleet.problem).states == states


@pytest.mark.parametrize("fleet", [ONE_CALL, replace(ONE_CALL, deaths=2, overrun=1)])
def test_from_everywhere_all_credit_can_come_back(fleet: Leases) -> None:
    explore(fleet.initial, fleet.steps, fleet.problem, goal=fleet.is_quiet)


@pytest.mark.parametrize("fault", FATAL, ids=lambda fault: fault.value)
def test_the_limit_is_passed_when(fault: Fault) -> None:
    fleet = replace(FATAL[fault], fault=fault)
    with pytest.raises(Violation, match="were admitted"):
        explore(fleet.initial, fleet.steps, fleet.overspent)


def test_debt_must_not_be_taken_for_a_grant() -> None:
    """While it asks, a node may spend up to min(g, c). With c alone, debt would buy calls.

    Not more than the debt, so the promise holds; but a call would go out on credit that the store
    has never granted.
    """
    fleet = replace(ONE_CALL, sizes=(1, 2), overrun=1, fault=Fault.RECYCLES_DEBT)
    explore(fleet.initial, fleet.steps, fleet.overspent)
    with pytest.raises(Violation, match="thinks that it may spend 2, the store granted 1"):
        explore(fleet.initial, fleet.steps, fleet.problem)


@pytest.mark.parametrize(
    ("span", "back", "lag", "holds"),
    [
        pytest.param(2, 2, 1, True, id="clocks are late by less than a slot"),
        pytest.param(3, 2, 0, True, id="clocks are exact: a slot more"),
        pytest.param(3, 2, 1, False, id="but not if they are late"),
        pytest.param(2, 2, 2, False, id="clocks are late by more than a slot"),
        pytest.param(2, 1, 1, False, id="the store looks back one slot less"),
        pytest.param(3, 1, 0, False, id="the same with exact clocks"),
    ],
)
def test_a_rolling_window_holds_the_limit_in_any_span_of_slots(
    span: int, back: int, lag: int, holds: bool
) -> None:
    fleet = Rolling.of(limit=1, span=span, back=back, lag=lag)
    if holds:
        explore(fleet.initial, fleet.steps, fleet.problem)
    else:
        with pytest.raises(Violation, match="were admitted in slots"):
            explore(fleet.initial, fleet.steps, fleet.overspent)


@pytest.mark.parametrize(
    ("t", "n", "g", "c", "need", "want", "grant"),
    [
        pytest.param(0, 0, 0, 0, 1, 9, 1 + 4, id="half of what is left"),
        pytest.param(0, 2, 0, 0, 1, 9, 1 + 2, id="a share, if others have some"),
        pytest.param(0, 0, 0, 0, 3, 9, 3 + 3, id="whole calls"),
        pytest.param(8, 2, 3, 2, 3, 9, 2 + 3, id="the last of it"),
        pytest.param(9, 2, 3, 2, 3, 9, 2, id="nothing, and takes back what is left, if too little"),
        pytest.param(9, 2, 3, 2, 0, 0, 2, id="nothing, and takes back what is idle"),
        pytest.param(9, 2, 3, 6, 0, 0, 6, id="what is spent already: debt"),
    ],
)
def test_the_store_grants(t: int, n: int, g: int, c: int, need: int, want: int, grant: int) -> None:
    assert decide(10, t, n, g, c, need, want) == grant


def test_a_trace_is_short_enough_to_read() -> None:
    fleet = replace(ONE_CALL, fault=Fault.SPENDS_WHILE_ASKING)
    with pytest.raises(Violation) as caught:
        explore(fleet.initial, fleet.steps, fleet.overspent)
    names: list[Any] = [name for name, _ in caught.value.trace]
    assert names.count("admits 1") == 2
    assert len(names) == 11
    assert max(map(len, str(caught.value).splitlines())) < 400
    assert Account.__name__ in str(caught.value)
