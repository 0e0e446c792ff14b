"""Spool and drain: what was acknowledged is in the table exactly once, whoever dies where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.models.explorer import Violation, explore
from tests.models.spool_model import Fault, Row, Spooling, is_drained, lost, problem, wrong

#: Two writers; the second corrects an event of the first.
CORRECTED = ((Row(0), Row(1)), (Row(0, revision=1),))
#: Two writers, an event each.
APART = ((Row(0),), (Row(1),))
#: One writer.
ONE = ((Row(0), Row(1)),)

SPOOLS = {
    "all segments in one transaction": (Spooling(CORRECTED), 49_952),
    "a transaction for each segment": (Spooling(CORRECTED, batch=1), 39_616),
    "a full disk cuts rows off": (Spooling(CORRECTED, deaths=1, disk_full=True), 38_646),
    "everybody may die": (Spooling(APART, deaths=4), 18_527),
}

#: Each net alone: a fault in one must not be healed by the other.
BY_NAMES = Spooling(ONE, deaths=1, by_events=False)
BY_EVENTS = Spooling(ONE, deaths=1, by_names=False)
FATAL = {
    Fault.DELETES_BEFORE_COMMIT: BY_NAMES,
    Fault.NAMES_IN_ANOTHER_TRANSACTION: BY_NAMES,
    Fault.FORGETS_NAMES_AT_ONCE: BY_NAMES,
    Fault.TAKES_UNSEALED: BY_NAMES,
    Fault.NO_DRAIN_LOCK: Spooling(APART, deaths=0),
    Fault.WRITES_INTO_THE_VOID: BY_NAMES,
    Fault.TAKES_TORN_ROWS: BY_EVENTS,
}


@pytest.mark.parametrize("name", SPOOLS)
def test_what_was_acknowledged_is_stored_once_with(name: str) -> None:
    spooling, states = SPOOLS[name]
    explored = explore(spooling.initial, spooling.steps, problem, final=lost, goal=is_drained)
    assert explored.states == states
    assert explored.ends


@pytest.mark.parametrize("fault", FATAL, ids=lambda fault: fault.value)
def test_a_row_is_lost_or_doubled_when(fault: Fault) -> None:
    spooling = replace(FATAL[fault], fault=fault)
    with pytest.raises(Violation):
        explore(spooling.initial, spooling.steps, wrong, final=lost)


@pytest.mark.parametrize("fault", FATAL, ids=lambda fault: fault.value)
def test_no_row_is_lost_or_doubled_without(fault: Fault) -> None:
    spooling = FATAL[fault]
    explore(spooling.initial, spooling.steps, problem, final=lost)


def test_without_either_net_a_crash_after_the_commit_doubles_rows() -> None:
    spooling = replace(BY_NAMES, by_names=False)
    with pytest.raises(Violation, match="twice") as caught:
        explore(spooling.initial, spooling.steps, wrong)
    names = [name for name, _ in caught.value.trace]
    assert names[names.index("drain 0 is killed") - 1] == "drain 0 commits"


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize(
    "net",
    [
        pytest.param(Spooling(APART, by_names=False), id="ids of events"),
        pytest.param(Spooling(APART, by_events=False), id="names of segments"),
    ],
)
def test_each_net_is_enough_alone(net: Spooling, batch: int) -> None:
    spooling = replace(net, batch=batch)
    explore(spooling.initial, spooling.steps, problem, final=lost)


def test_names_alone_are_not_enough_if_those_outside_the_batch_are_forgotten() -> None:
    """The ids of the events would still hold.

    A drain dies after the commit. An older segment, which was still written then, is sealed. Now it
    fills the batch, and the name of one that was taken, and is still there, is forgotten.
    """
    spooling = Spooling(APART, deaths=1, batch=1, by_events=False, keeps_names_of_files=False)
    with pytest.raises(Violation, match="twice"):
        explore(spooling.initial, spooling.steps, wrong)


def test_what_is_deleted_stays_deleted_if_names_are_kept_as_long_as_their_files() -> None:
    """The ids of events cannot help here: they are deleted with their rows."""
    kept = Spooling(APART, batch=1, deletes=True)
    explore(kept.initial, kept.steps, problem, final=lost)
    forgotten = replace(kept, keeps_names_of_files=False)
    with pytest.raises(Violation, match="what was deleted is back"):
        explore(forgotten.initial, forgotten.steps, wrong)
