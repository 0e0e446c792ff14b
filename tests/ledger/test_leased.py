"""What several nodes on one store do for each other; see `test_leased_machine` for all the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_atm.budget import Budget
from otel_atm.ledger import Key, LooseHold, Shortage
from otel_atm.ledger.leased_account import LeasedAccount
from tests.ledger.contract import tokens
from tests.ledger.fleet import Fleet, Node

DAY = "10000 tokens / day"
PER_USER = "1000 tokens / minute per user"


@pytest.fixture
def fleet_of(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    started: list[Fleet] = []

    def start(*budgets: Budget | str, nodes: int = 2) -> Fleet:
        fleet = Fleet(tmp_path / "atm.ledger", *budgets)
        started.append(fleet)
        for _ in range(nodes):
            fleet.join()
        return fleet

    yield start
    for fleet in started:
        fleet.close()
        assert fleet.troubles == []


def account(node: Node, budget: Budget) -> LeasedAccount:
    found = node.ledger._book(budget).account(())
    assert isinstance(found, LeasedAccount)
    return found


# Credit ---------------------------------------------------------------------------------------


def test_most_calls_do_not_ask_the_store(fleet_of: Callable[..., Fleet]) -> None:
    node = fleet_of("1000000 tokens / day", nodes=1).nodes[0]
    for _ in range(32):
        node.spend(node.open("1000000 tokens / day"), 500)
    assert node.store.steps == 1


def test_what_one_does_not_use_another_one_gets_at_once(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    first.spend(first.open(DAY), 500)
    assert fleet.standing().granted == 10_000  # all of it
    for _ in range(19):
        second.spend(second.open(DAY), 500)
    assert isinstance(first.ask(first.open(DAY), 500, exact=True), Shortage)
    assert first.amounts == second.amounts == {(DAY,): (10_000, 0)}


def test_a_wait_for_others_is_over_after_the_timeout(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    first.spend(first.open(DAY), 500)
    fleet._ticking = True  # nobody hears
    began = fleet.now
    second.refuse(second.open(DAY), 500, exact=True)
    assert fleet.now - began == pytest.approx(0.05, abs=0.002)
    fleet._ticking = False


def test_after_a_refusal_the_store_is_not_asked_for_a_while(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY, nodes=1)
    node = fleet.nodes[0]
    node.spend(node.open(DAY), 10_000)
    for _ in range(100):
        node.refuse(node.open(DAY), 100, exact=True)
    steps = node.store.steps
    assert steps == 2
    for _ in range(100):
        fleet.now += 0.1
        node.refuse(node.open(DAY), 100, exact=True)
    assert 10 < node.store.steps - steps < 60  # once in 250 ms in the end


def test_less_may_fit_where_more_was_refused(fleet_of: Callable[..., Fleet]) -> None:
    node = fleet_of(DAY, nodes=1).nodes[0]
    node.spend(node.open(DAY), 9_700)
    node.refuse(node.open(DAY), 400, exact=True)
    node.admit(node.open(DAY), 300, exact=True)


def test_credit_that_is_not_used_comes_back(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of("1000000 tokens / day")
    node = fleet.nodes[0]
    node.spend(node.open("1000000 tokens / day"), 500)
    fleet.wait(4.0)
    assert fleet.standing().granted == 500 * 33
    fleet.wait(2.0)
    assert fleet.standing().granted == 500


def test_sooner_when_little_is_left(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    node = fleet.nodes[0]
    node.spend(node.open(DAY), 8_100)
    node.spend(node.open(DAY), 10)
    assert fleet.standing().granted > 8_110
    fleet.wait(1.5)
    assert fleet.standing().granted == 8_110


def test_more_is_asked_for_before_a_call_has_to_wait(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of("100000000 tokens / day", nodes=1)
    node = fleet.nodes[0]
    keys = node.open("100000000 tokens / day")
    for _ in range(40):
        fleet.now += 0.025
        fleet.tick()
        node.spend(keys, 500)
    waited = node.store.steps
    node.ledger._refill.hold = None  # type: ignore[method-assign, assignment]
    for _ in range(2_000):
        fleet.now += 0.025
        fleet.tick()
        node.spend(keys, 500)
    assert (node.store.steps - waited) / 2_000 < 0.02


def test_what_was_settled_is_told_within_two_seconds(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    fleet.nodes[0].spend(fleet.nodes[0].open(DAY), 500)
    assert fleet.standing().spent == 0
    fleet.wait(2.2)
    assert (fleet.standing().spent, fleet.standing().settled) == (500, 500)


def test_a_debt_is_told_with_the_next_tick(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    hold = first.admit(first.open(DAY), 500)
    first.settle(hold, 11_000)
    fleet.tick()
    assert second.refuse(second.open(DAY), 1).balance.used == 11_000


def test_the_last_call_is_alone_over_all_nodes(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    hold = first.admit(first.open(DAY), 9_900)
    second.refuse(second.open(DAY), 500)  # the first one has a call in flight
    first.settle(hold, 9_900)
    fleet.wait(2.2)
    alone: Any = second.admit(second.open(DAY), 500)
    assert [amount for _, _, amount in alone] == [100]
    first.refuse(first.open(DAY), 500)
    second.settle(alone, 450)
    fleet.wait(0.5)
    assert first.refuse(first.open(DAY), 1).balance.used == 10_350


# Windows and budgets --------------------------------------------------------------------------


def test_accounts_of_a_window_that_is_over_are_told_and_their_cells_used_again(
    fleet_of: Callable[..., Fleet],
) -> None:
    fleet = fleet_of(PER_USER, nodes=1)
    node = fleet.nodes[0]
    late = node.admit(node.open(PER_USER, user="late"), 100)
    for minute in range(5):
        for number in range(200):
            node.spend(node.open(PER_USER, user=f"user{number}"), minute + 1)
        fleet.clock.advance(60)
        fleet.wait(1.0)
    node.settle(late, 70)
    fleet.wait(8)
    cells = node.ledger._desk.cells
    assert cells is not None
    assert len(cells.values) <= 512
    assert node.ledger._desk.live == {}
    book = node.ledger._books[fleet.budgets[0].identity]
    first_minute = 1_767_225_600 * 1_000_000_000
    shown = node.store.standings(book.identity, first_minute, first_minute - 1)  # type: ignore[attr-defined]
    assert {(each.granted, each.spent, each.settled) for each in shown} == {(1, 1, 1), (70, 70, 70)}


def test_a_limit_that_changes_counts_from_the_next_call(fleet_of: Callable[..., Fleet]) -> None:
    high, low = Budget(DAY, name="all"), Budget("800 tokens / day", name="all")
    fleet = fleet_of(high)
    node = fleet.nodes[0]
    node.spend(node.open(high), 500)
    node.ledger.use([low])
    assert node.refuse(node.open(low), 400, exact=True).balance.limit == 800
    node.admit(node.open(low), 300, exact=True)


def test_a_budget_that_degrades_allows_more_over_all_nodes(fleet_of: Callable[..., Fleet]) -> None:
    budget = Budget(
        "1000 tokens / day", action="degrade", degrade_to="small", block_at=1.5, name="soft"
    )
    fleet = fleet_of(budget)
    first, second = fleet.nodes
    for node in (first, second):
        node.spend(node.open(budget), 500)
    for node in (first, second):
        hold = node.admit(node.open(budget), 250, exact=True)
        assert isinstance(hold, LooseHold)
        node.settle(hold, 250)
    first.refuse(first.open(budget), 1, exact=True)
    second.refuse(second.open(budget), 1, exact=True)


def test_a_budget_that_warns_refuses_nothing_and_counts_all(fleet_of: Callable[..., Fleet]) -> None:
    budget = Budget("1000 tokens / day", action="warn", name="soft")
    fleet = fleet_of(budget)
    for node in fleet.nodes:
        for _ in range(3):
            node.spend(node.open(budget), 400)
    fleet.wait(1)
    assert fleet.standing().settled == 2_400
    hold = fleet.nodes[0].admit(fleet.nodes[0].open(budget), 1)
    assert isinstance(hold, LooseHold)
    assert hold.over[0].used == 2_400


def test_an_alert_is_told_once_by_one_node(fleet_of: Callable[..., Fleet]) -> None:
    budget = Budget(DAY, alert_at=[0.5, 0.8], name="alerting")
    fleet = fleet_of(budget)
    told: list[float] = []
    for node in fleet.nodes:
        node.ledger.on_alert(lambda crossings: told.extend(each.level for each in crossings))
    for _ in range(10):
        for node in fleet.nodes:
            told += [crossing.level for crossing in node.spend(node.open(budget), 500)]
            fleet.wait(0.5)
    fleet.wait(3)
    assert told == [0.5, 0.8]


# Operators ------------------------------------------------------------------------------------


def test_what_an_operator_changes_reaches_every_node_with_a_tick(
    fleet_of: Callable[..., Fleet],
) -> None:
    budget = Budget("1000 tokens / day", name="all")
    fleet = fleet_of(budget, nodes=3)
    first, second, operator = fleet.nodes
    key = Key(budget, ())
    first.spend(first.open(budget), 1_000)
    second.refuse(second.open(budget), 100, exact=True)
    operator.ledger.grant(key, 300, fleet.clock())
    fleet.tick()
    second.spend(second.open(budget), 300)
    assert first.refuse(first.open(budget), 1).balance.limit == 1_300
    operator.ledger.reset(key, fleet.clock())
    fleet.tick()
    assert first.amounts == {}
    late = first.admit(first.open(budget), 900)
    second.refuse(second.open(budget), 200, exact=True)
    operator.ledger.exempt(key, fleet.clock() + 60_000_000_000, fleet.clock())
    fleet.tick()
    second.spend(second.open(budget), 5_000)
    first.settle(late, 900)
    fleet.wait(60)
    assert first.refuse(first.open(budget), 1).balance.used == 5_900


def test_calls_from_before_a_reset_stay_with_the_old_count(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    hold = first.admit(first.open(DAY), 9_000)
    second.ledger.reset(Key(fleet.budgets[0], ()), fleet.clock())
    fleet.tick()
    first.settle(hold, 9_500)
    fleet.wait(3)
    assert first.amounts == {}
    second.spend(second.open(DAY), 10_000)


def test_all_are_stopped_and_go_on_with_a_tick(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    told: list[tuple[int, bool]] = []
    for number, node in enumerate(fleet.nodes):
        node.ledger.on_stop(lambda stopped, number=number: told.append((number, stopped)))  # type: ignore[misc]
    fleet.nodes[0].ledger.stop(stopped=True)
    fleet.tick()
    fleet.nodes[1].ledger.stop(stopped=False)
    fleet.tick()
    assert told == [(0, True), (1, True), (0, False), (1, False)]


# Coming and going -----------------------------------------------------------------------------


def test_who_closes_gives_everything_back_and_is_served_afterwards(
    fleet_of: Callable[..., Fleet],
) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    first.spend(first.open(DAY), 500)
    first.ledger.close()
    assert (fleet.standing().granted, fleet.standing().settled) == (500, 500)
    first.spend(first.open(DAY), 300)
    fleet.wait(2.2)
    assert second.amounts == {(DAY,): (800, 0)}


def test_what_is_in_flight_at_the_close_is_settled_late(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    hold = first.admit(first.open(DAY), 500)
    first.ledger.close()
    first.settle(hold, 400)
    first.die()
    fleet.wait(1.5)
    assert second.amounts == {(DAY,): (400, 0)}


def test_calls_in_flight_of_the_dead_stay_charged_as_held(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    first.spend(first.open(DAY), 500)
    first.admit(first.open(DAY), 700)
    first.die()
    fleet.wait(1.5)
    assert second.amounts == {(DAY,): (1_200, 0)}
    second.spend(second.open(DAY), 8_800)


def test_the_dead_are_counted_once_by_a_node_that_has_no_call_yet_and_hears_no_answer(
    fleet_of: Callable[..., Fleet],
) -> None:
    fleet = fleet_of(DAY)
    first, second = fleet.nodes
    first.admit(first.open(DAY), 700)
    first.die()
    second.store.fails = "after"
    fleet.wait(3.0)  # buried, as nobody hears; and now and then the store is swept
    assert not isinstance(second.admit(second.open(DAY), 0), Shortage)
    fleet.wait(5.0)
    second.store.sweep(fleet.clock())
    second.store.fails = ""
    fleet.wait(3.0)
    assert second.amounts == {(DAY,): (700, 0)}
    assert set(fleet.troubles) == {"ledger: does not answer"}
    fleet.troubles.clear()


def test_when_the_file_is_removed_every_node_tells_again_what_it_spent(
    fleet_of: Callable[..., Fleet],
) -> None:
    fleet = fleet_of(DAY)
    for node in fleet.nodes:
        node.spend(node.open(DAY), 1_000)
    for path in fleet.path.parent.glob("atm.ledger*"):
        if path.is_file():
            path.unlink()
    fleet.wait(3)
    assert fleet.nodes[0].amounts == {(DAY,): (2_000, 0)}
    fleet.nodes[1].spend(fleet.nodes[1].open(DAY), 8_000)
    fleet.nodes[0].refuse(fleet.nodes[0].open(DAY), 1)


def test_absurd_amounts_do_no_harm(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(DAY, nodes=1)
    node = fleet.nodes[0]
    hold = node.admit(node.open(DAY), 100)
    node.ledger.settle(hold, tokens(10**30))
    fleet.wait(3)
    node.refuse(node.open(DAY), 1)
