"""Budgets hold against many callers at once: threads, tasks, known and unknown costs."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_atm import Scope
from otel_atm.budget import Budget, read_budgets
from otel_atm.gate import Call, Gate, Kind, Plan
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock

CALLERS = 64
ANN = Kind(Scope(user="ann"), "openai", "gpt-5.1", "chat")


@pytest.fixture(autouse=True)
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


class Payer:
    """Ann, and what her calls cost.

    Attributes:
        costs: of the calls that were let in, so far.
        over: what they cost more than was held for them.
    """

    def __init__(self, budget: Budget | str, *, default_hold: int = 1000) -> None:
        self.gate = Gate(
            read_budgets([budget]), MemoryLedger(), clock=ManualClock(), default_hold=default_hold
        )
        self.plan: Plan = self.gate.plan(ANN)
        self.costs: list[int] = []
        self.over = 0

    def stated(self, tokens: int) -> Callable[[], Call]:
        """Calls whose maximum is known."""
        half = tokens // 2
        estimate = half, tokens - half, 0, 0, 0

        def begin() -> Call:
            claim = self.gate.stated(self.plan, estimate, whole=False)
            return self.gate.open(self.plan, claim, estimate)

        return begin

    def unknown(self) -> Call:
        """A call of which nothing is known."""
        return self.gate.begin(self.plan, "span", "openai")

    def settle(self, call: Call, cost: int) -> None:
        self.over += max(0, cost - sum(amount for _, _, amount in call.hold))
        self.gate.settle(call, (cost // 2, cost - cost // 2, 0, 0, 0))
        self.costs.append(cost)

    def learn(self, costs: list[int]) -> None:
        """Earlier calls, which no budget counts any more."""
        for cost in costs:
            call = self.gate.charge(self.plan, "span", "openai")
            self.gate.settle(call, (cost // 2, cost - cost // 2, 0, 0, 0))
        budgets = self.gate.budgets
        self.gate.oversight.reset(budgets[0].label, {})

    @property
    def spent(self) -> int:
        assert [status.held for status in self.gate.oversight.statuses()] == [0]
        assert [status.used for status in self.gate.oversight.statuses()] == [sum(self.costs)]
        return sum(self.costs)


def in_threads(payer: Payer, begin: Callable[[], Call], cost: Callable[[], int]) -> None:
    """Each caller goes on until it is refused while nobody else has a call in flight."""
    ready, lock, flying = threading.Barrier(CALLERS), threading.Lock(), [0]

    def work() -> None:
        ready.wait()
        while True:
            call = begin()
            if call.refusal is None:
                with lock:
                    flying[0] += 1
                payer.settle(call, cost())
                with lock:
                    flying[0] -= 1
            elif not flying[0] and not call.refusal.held:
                return

    threads = [threading.Thread(target=work) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def in_tasks(payer: Payer, begin: Callable[[], Call], cost: Callable[[], int]) -> None:
    """The same with tasks, each of whose calls takes a few turns of the loop."""

    async def work() -> None:
        while True:
            call = begin()
            if call.refusal is None:
                for _ in range(3):
                    await asyncio.sleep(0)
                payer.settle(call, cost())
            elif not call.refusal.held:
                return
            else:
                await asyncio.sleep(0)

    await asyncio.gather(*[work() for _ in range(CALLERS)])


class TestKnownCost:
    """Calls of 500 tokens under a budget of 10,000."""

    def test_64_threads_use_it_up_and_no_more(self) -> None:
        payer = Payer("10k tokens / day")
        in_threads(payer, payer.stated(500), lambda: 500)
        assert payer.spent == 10_000

    def test_so_do_64_tasks(self) -> None:
        payer = Payer("10k tokens / day")
        asyncio.run(in_tasks(payer, payer.stated(500), lambda: 500))
        assert payer.spent == 10_000

    @given(st.integers(100, 900), st.integers(1_000, 20_000))
    @settings(max_examples=20, deadline=None)
    def test_what_is_stated_is_never_passed(self, size: int, limit: int) -> None:
        payer = Payer(f"{limit} tokens / day")
        asyncio.run(in_tasks(payer, payer.stated(size), lambda: size))
        assert limit - size < payer.spent <= limit


class TestUnknownCost:
    """Calls of 100 to 900 tokens, which nobody knows before they end."""

    @pytest.mark.parametrize("seed", range(5))
    def test_learned_from_200_calls_uses_up_10_000_and_little_more(self, seed: int) -> None:
        chance = random.Random(seed)
        payer = Payer("10k tokens / day")
        payer.learn([chance.randint(100, 900) for _ in range(200)])
        asyncio.run(in_tasks(payer, payer.unknown, lambda: chance.randint(100, 900)))
        assert 9_500 <= payer.spent <= 11_000

    def test_in_threads_too(self) -> None:
        chance = random.Random(6)
        payer = Payer("10k tokens / day")
        payer.learn([chance.randint(100, 900) for _ in range(200)])
        in_threads(payer, payer.unknown, lambda: chance.randint(100, 900))
        assert 9_500 <= payer.spent <= 11_000

    def test_a_large_budget_is_met_to_the_permille(self) -> None:
        chance = random.Random(7)
        payer = Payer("1M tokens / day")
        payer.learn([chance.randint(100, 900) for _ in range(200)])
        asyncio.run(in_tasks(payer, payer.unknown, lambda: chance.randint(100, 900)))
        assert 980_000 <= payer.spent <= 1_002_000

    @given(st.randoms(use_true_random=False), st.integers(1_000, 20_000), st.integers(1, 1_000))
    @settings(max_examples=30, deadline=None)
    def test_before_anything_is_learned_it_is_passed_by_no_more_than_was_not_held(
        self, chance: random.Random, limit: int, hold: int
    ) -> None:
        payer = Payer(f"{limit} tokens / day", default_hold=hold)
        asyncio.run(in_tasks(payer, payer.unknown, lambda: chance.randint(100, 900)))
        assert payer.spent <= limit + payer.over

    @given(st.randoms(use_true_random=False), st.integers(1_000, 20_000))
    @settings(max_examples=20, deadline=None)
    def test_strict_never_passes_where_the_most_is_known(
        self, chance: random.Random, limit: int
    ) -> None:
        payer = Payer(Budget(f"{limit} tokens / day", mode="strict"))
        asyncio.run(in_tasks(payer, payer.stated(900), lambda: chance.randint(100, 900)))
        assert limit - 900 <= payer.spent <= limit
