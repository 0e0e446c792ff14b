"""Nodes that share a store, whatever happens to them, never pass a limit and lose nothing."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from otel_atm.budget import Budget
from otel_atm.ledger import Hold, Shortage
from tests.ledger.contract import tokens
from tests.ledger.fleet import Fleet, Node

DAY = Budget("5000 tokens / day", on_error="block")
ROLLING = Budget("3000 tokens / rolling minute", on_error="block")
SLOT_NS, LENGTH_NS = 2_000_000_000, 60_000_000_000


class Truth:
    """What was really spent of a budget; nobody in the protocol sees it.

    Attributes:
        spent: slot of admission → held or settled there.
        over: how much calls used beyond what was held for them.
    """

    def __init__(self) -> None:
        self.spent: dict[int, int] = {}
        self.over = self.settled = self.lost = 0

    def add(self, slot: int, amount: int) -> None:
        self.spent[slot] = self.spent.get(slot, 0) + amount

    def counting(self, now_ns: int, *, rolling: bool) -> int:
        if not rolling:
            return sum(self.spent.values())
        start = now_ns - now_ns % SLOT_NS - LENGTH_NS
        return sum(amount for slot, amount in self.spent.items() if slot >= start)


class LeasedMachine(RuleBasedStateMachine):
    """Several nodes with lost messages, deaths and debts."""

    _folder = tempfile.TemporaryDirectory()
    _numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        path = Path(self._folder.name) / f"{next(self._numbers)}.ledger"
        self.fleet = Fleet(path, DAY, ROLLING)
        self.truth = [Truth(), Truth()]
        self.holds: list[tuple[Node, Hold, int, int]] = []
        self.fleet.join()
        self.fleet.join()

    places = st.integers(min_value=0, max_value=10**6)

    def node(self, place: int) -> Node:
        return self.fleet.alive[place % len(self.fleet.alive)]

    @rule(place=places, amount=st.sampled_from([10, 100, 250, 700, 1_500]), exact=st.booleans())
    def admit(self, place: int, amount: int, exact: bool) -> None:
        node = self.node(place)
        answer: Any = node.ask(node.open(DAY, ROLLING), amount, exact=exact)
        if isinstance(answer, Shortage):
            return
        now_ns = self.fleet.clock()
        slot = now_ns - now_ns % SLOT_NS
        for truth, budget, (_, _, held) in zip(self.truth, (DAY, ROLLING), answer, strict=True):
            truth.add(slot, held)
            spent = truth.counting(now_ns, rolling=budget is ROLLING)
            assert spent - truth.over <= budget.cap
        self.holds.append((node, answer, slot, amount))

    @precondition(lambda self: self.holds)
    @rule(place=places, part=st.sampled_from([0.0, 0.3, 1.0, 1.0, 1.0, 1.4]))
    def settle(self, place: int, part: float) -> None:
        node, hold, slot, _ = self.holds.pop(place % len(self.holds))
        used = int(max(held for _, _, held in hold) * part)  # type: ignore[misc]
        node.ledger.settle(hold, tokens(used))
        for truth, (_, _, held) in zip(self.truth, hold, strict=True):
            truth.add(slot, used - held)
            truth.settled += used
            truth.over += max(0, used - held)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 7.0]))
    def wait(self, seconds: float) -> None:
        self.fleet.wait(seconds)

    @rule()
    def tick(self) -> None:
        self.fleet.now += 0.025
        self.fleet.tick()

    @rule(place=places, how=st.sampled_from(["before", "after", "", ""]))
    def lose_messages(self, place: int, how: str) -> None:
        self.node(place).store.fails = how

    @precondition(lambda self: len(self.fleet.alive) < 4)
    @rule()
    def join(self) -> None:
        self.fleet.join()

    @precondition(lambda self: len(self.fleet.alive) > 1)
    @rule(place=places)
    def die(self, place: int) -> None:
        node = self.node(place)
        node.die()
        for other, hold, _, _ in self.holds:
            if other is node:
                for truth, (_, _, held) in zip(self.truth, hold, strict=True):
                    truth.lost += held
        self.holds = [each for each in self.holds if each[0] is not node]

    @precondition(lambda self: len(self.fleet.alive) > 1)
    @rule(place=places)
    def leave(self, place: int) -> None:
        node = self.node(place)
        if not any(other is node for other, _, _, _ in self.holds) and not node.store.fails:
            node.ledger.close()
            node.alive = False

    def teardown(self) -> None:
        """When all is quiet, the store knows exactly what was spent, and has all credit back."""
        for node in self.fleet.alive:
            node.store.fails = ""
        self.fleet.wait(7.0)
        day = self.fleet.standing()
        truth = self.truth[0]
        assert day.spent == sum(truth.spent.values())
        assert day.settled == truth.settled + truth.lost
        assert day.granted == day.spent
        for place, node in enumerate(self.fleet.alive):
            assert node.amounts == self.fleet.alive[place - 1].amounts
        self.fleet.close()


TestLeasedMachine = LeasedMachine.TestCase
TestLeasedMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
