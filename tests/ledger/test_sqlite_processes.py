"""Real processes on one file, with threads, and killed. `ATM_SOAK=20` makes it 20 times as much."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_atm.budget import Budget
from otel_atm.ledger import Balance, Key, Line
from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.sqlite import SqliteStore
from tests.ledger.hammer_worker import spent

ROOT = Path(__file__).parents[2]
TIMES = int(os.environ.get("ATM_SOAK", "1"))


class Hammer:
    """Processes that make calls, all with the same orders."""

    def __init__(self, folder: Path, count: int, **orders: Any) -> None:
        folder.mkdir()
        self.ledger, self.truth = folder / "atm.ledger", folder / "truth"
        self.budget = Budget(orders["budget"])
        all_orders = {"ledger": str(self.ledger), "truth": str(self.truth), **orders}
        self.workers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.ledger.hammer_worker", json.dumps(all_orders)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for _ in range(count)
        ]
        for worker in self.workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"

    def go(self) -> None:
        for worker in self.workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()

    def join(self) -> int:
        """What was spent, when all are done."""
        for worker in self.workers:
            worker.communicate(timeout=60)
        return spent(self.truth)

    def balance(self) -> Balance:
        """What the ledger says, to a process that comes later."""
        ledger = LeasedLedger(SqliteStore(self.ledger), threaded=False)
        ledger.use([self.budget])
        deadline = time.monotonic() + 3.0  # three ticks of those who look for the dead
        while True:
            ledger.tick()
            (balance,) = ledger.balances(time.time_ns())
            if len(list(self.ledger.with_name("atm.ledger.nodes").glob("*.cells"))) == 1:
                break  # our own
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ledger.close()
        return balance

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Hammer]]:
    """Makes hammers that are going; they end with the test.

    An overloaded machine may not answer in time: then they let no call in without credit.
    """
    started: list[Hammer] = []

    def going(count: int, **orders: Any) -> Hammer:
        started.append(Hammer(tmp_path / "a", count, **{"on_error": "block", **orders}))
        started[-1].go()
        return started[-1]

    yield going
    for each in started:
        each.end()


@pytest.mark.parametrize("turn", range(2 * TIMES))
def test_4_processes_of_16_threads_spend_a_budget_exactly(
    start: Callable[..., Hammer], turn: int
) -> None:
    hammer = start(
        4,
        budget="10000 tokens / day",
        sizes=[500],
        threads=16,
        work_s=0.02,
        patience=3,
        pause_s=0.05,
    )
    assert hammer.join() == 10_000
    balance = hammer.balance()
    assert (balance.used, balance.held) == (10_000, 0)


@pytest.mark.parametrize("turn", range(TIMES))
def test_calls_of_many_sizes_never_pass_a_budget_and_leave_little(
    start: Callable[..., Hammer], turn: int
) -> None:
    hammer = start(
        4,
        budget="10000 tokens / day",
        sizes=list(range(100, 901)),
        threads=16,
        work_s=0.005,
        patience=10,
        pause_s=0.02,
    )
    assert 9_500 <= hammer.join() <= 10_000


@pytest.mark.parametrize("turn", range(5 * TIMES))
def test_what_a_killed_process_had_not_spent_comes_back_exactly(
    start: Callable[..., Hammer], turn: int
) -> None:
    hammer = start(
        8,
        budget="600000 tokens / day",
        sizes=[500],
        threads=4,
        work_s=0.01,
        patience=60,
        pause_s=0.05,
    )
    time.sleep(random.uniform(0.02, 0.3))
    hammer.workers[0].kill()
    # Four calls at most were let in and had no time to tell the truth; they stay charged as held.
    assert 600_000 - 4 * 500 <= hammer.join() <= 600_000
    balance = hammer.balance()
    assert (balance.used, balance.held) == (600_000, 0)


def test_what_was_spent_stays_spent_after_a_restart(tmp_path: Path) -> None:
    path, budget = tmp_path / "atm.ledger", Budget("1000 tokens / month")
    for expected in (300, 600, 900):
        ledger = LeasedLedger(SqliteStore(path))
        ledger.use([budget])
        claim = ledger.claim([Line(Key(budget, ()), 0, 300, exact=True)])
        now_ns = time.time_ns()
        hold: Any = ledger.admit(claim, now_ns)
        ledger.settle(hold, (300, 0, 0, 1, 0))
        assert [each.used for each in ledger.balances(now_ns)] == [expected]
        ledger.close()


def test_a_child_has_credit_of_its_own(tmp_path: Path) -> None:
    budget = Budget("1000 tokens / month")
    ledger = LeasedLedger(SqliteStore(tmp_path / "atm.ledger"), timeout_s=2.0)
    ledger.use([budget])
    claim = ledger.claim([Line(Key(budget, ()), 0, 100, exact=True)])
    now_ns = time.time_ns()
    first: Any = ledger.admit(claim, now_ns)
    says, hears = os.pipe()
    child = os.fork()
    if not child:
        try:
            ledger.after_fork()
            admitted = [ledger.admit(claim, now_ns) for _ in range(20)]
            os.write(hears, f"{sum(isinstance(each, list) for each in admitted)}\n".encode())
        finally:
            os._exit(0)
    assert int(os.read(says, 20)) == 9
    os.waitpid(child, 0)
    ledger.settle(first, (40, 0, 0, 1, 0))
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        (balance,) = ledger.balances(now_ns)
        if (balance.used, balance.held) == (940, 0):
            break
        time.sleep(0.05)
    assert (balance.used, balance.held) == (940, 0)  # the child died with 900 in flight
    ledger.close()
    os.close(says)
    os.close(hears)
