"""Several processes on one SQLite ledger: against each with a ledger in memory, and at a pace."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from otel_atm.budget import Budget
from otel_atm.ledger import Key, Line, MemoryLedger
from otel_atm.ledger.grants import Answer, Ask
from otel_atm.ledger.leased import LeasedLedger
from otel_atm.ledger.sqlite import SqliteStore

#: What each ratio should be at most; tests assert twice of it, since machines are noisy.
LIMITS = {
    "admit + settle, 4 processes": 2.0,
    "store operations per 1,000 calls": 10.0,
    "p99 of admit / median": 100.0,
}
PROCESSES = 4
BUDGETS = [
    Budget("100bn tokens / minute per user"),
    Budget("1000bn tokens / day per team"),
    Budget("9000bn tokens / month"),
]
USED = (900, 450, 450, 1, 0)


class CountingStore(SqliteStore):
    """Knows how often it was asked."""

    steps = 0

    def step(self, asks: Sequence[Ask], now_ns: int, timeout_s: float) -> list[Answer]:
        self.steps += 1
        return super().step(asks, now_ns, timeout_s)


def claim_of(ledger: Any) -> Any:
    """Of a call of 1,000 tokens under three budgets."""
    ledger.use(BUDGETS)
    values = (("ann",), ("ml",), ())
    return ledger.claim(
        [Line(Key(budget, who), 0, 1_000) for budget, who in zip(BUDGETS, values, strict=True)]
    )


def busy(path: str, rounds: int, calls: int) -> dict[str, float]:
    """CPU seconds of this process for each call, the thread that ticks included."""
    ledgers = {"memory": MemoryLedger(), "sqlite": LeasedLedger(SqliteStore(path))}
    claims = {name: claim_of(ledger) for name, ledger in ledgers.items()}
    samples: dict[str, list[float]] = {name: [] for name in ledgers}
    for _ in range(rounds):
        for name, ledger in ledgers.items():
            claim, now_ns = claims[name], time.time_ns()
            started = time.process_time()
            for _ in range(calls):
                ledger.settle(ledger.admit(claim, now_ns), USED)  # type: ignore[arg-type]
            samples[name].append((time.process_time() - started) / calls)
    ledgers["sqlite"].close()
    return {name: statistics.fmean(values[1:]) for name, values in samples.items()}


def paced(path: str, seconds: float, per_second: float) -> dict[str, Any]:
    """How long each admission took, in seconds, and how often the store was asked."""
    store = CountingStore(path)
    ledger = LeasedLedger(store)
    claim, took = claim_of(ledger), []
    began = time.perf_counter()
    for number in range(int(seconds * per_second)):
        time.sleep(max(0.0, began + number / per_second - time.perf_counter()))
        started = time.perf_counter()
        hold = ledger.admit(claim, time.time_ns())
        took.append(time.perf_counter() - started)
        ledger.settle(hold, USED)  # type: ignore[arg-type]
    steps = store.steps
    ledger.close()
    return {"steps": steps, "took": took}


def ratios(rounds: int = 20, calls: int = 10_000, seconds: float = 10.0) -> dict[str, float]:
    """Against memory with all processes busy; then at 100 calls a second and process."""
    with tempfile.TemporaryDirectory() as folder:
        spent = _together("busy", str(Path(folder) / "busy.ledger"), rounds, calls)
        found = _together("paced", str(Path(folder) / "paced.ledger"), seconds, 100.0)
    took = sorted(each for process in found for each in process["took"])
    median, p99 = statistics.median(took), took[len(took) * 99 // 100]
    return {
        "admit + settle, 4 processes": statistics.median(
            process["sqlite"] / process["memory"] for process in spent
        ),
        "store operations per 1,000 calls": 1_000 * sum(p["steps"] for p in found) / len(took),
        "p99 of admit / median": p99 / median,
        "median of admit, µs": median * 1e6,
        "longest admit, ms": took[-1] * 1e3,
    }


def _together(what: str, *arguments: object) -> list[Any]:
    """What each of the processes says."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.leases", what, json.dumps(arguments)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for _ in range(PROCESSES)
    ]
    return [json.loads(worker.communicate()[0]) for worker in workers]


if __name__ == "__main__":
    work = {"busy": busy, "paced": paced}[sys.argv[1]]
    print(json.dumps(work(*json.loads(sys.argv[2]))))  # type: ignore[operator]
