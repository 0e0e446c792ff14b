"""Admission and settlement in memory, against `limits` hitting three fixed windows in memory."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import cycle
from time import time_ns

from limits import RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_atm as atm
from benchmarks.interleaved import measure, medians
from otel_atm.budget import Budget, read_budgets
from otel_atm.gate import Gate, Kind
from otel_atm.ledger import MemoryLedger

#: What each ratio should be at most; tests assert twice of it, since machines are noisy.
LIMITS = {
    "admit + settle, three budgets": 0.25,
    "with atm.admit(...)": 0.6,
    "a cold user": 1.5,
}
#: The same, against `admit + settle` of one user under three budgets.
SELF_LIMITS = {"1,000 rules of which 3 match": 1.3, "1,000,000 users, skewed": 1.3}
#: Bytes that a user and budget may take.
MOST_BYTES = 400

BUDGETS = ["1bn tokens / minute per user", "1bn tokens / day per team", "100bn tokens / month"]
NOBODYS = [
    Budget(f"9 tokens / day where {key}={value}{number}{star}")
    for number in range(166)
    for key, value, star in (
        ("user", "robot", ""),
        ("user", "bot-", "-*"),
        ("team", "red", ""),
        ("team", "blue-", "*"),
        ("model", "old-", "*"),
        ("env", "stage", ""),
    )
]
USED = (900, 210, 0, 0, 0)


def _gate(budgets: list[Budget | str]) -> Gate:
    return Gate(read_budgets(budgets), MemoryLedger())


def _kind(user: str) -> Kind:
    return Kind(atm.Scope(user=user, team="ml", app="bench"), "openai", "gpt-5.1", "chat")


def limits_hits() -> Callable[[int], None]:
    """Three windows of one user, as an application keeps them with `limits`."""
    limiter = FixedWindowRateLimiter(MemoryStorage())
    items = [
        (RateLimitItemPerMinute(10**9), ("user", "ann")),
        (RateLimitItemPerHour(10**9), ("team", "ml")),
        (RateLimitItemPerDay(10**9), ("all",)),
    ]

    def run(calls: int) -> None:
        for _ in range(calls):
            for item, keys in items:
                limiter.hit(item, *keys, cost=1_000)

    return run


def ledger_calls(budgets: list[Budget | str]) -> Callable[[int], None]:
    """Hold and settle by one user whose plan is known."""
    gate = _gate(budgets)
    claim, ledger, used = gate.plan(_kind("ann")).claim, gate.ledger, (1_110, 900, 210, 1)

    def run(calls: int) -> None:
        for _ in range(calls):
            ledger.settle(ledger.admit(claim, time_ns()), used)

    return run


def planned_calls(
    budgets: list[Budget | str], kinds: list[Kind], before: Sequence[Kind] = ()
) -> Callable[[int], None]:
    """Look the plan up too, for one user after the other; others may have called before."""
    gate, used = _gate(budgets), (1_110, 900, 210, 1)
    ledger = gate.ledger
    for kind in before:
        ledger.settle(ledger.admit(gate.plan(kind).claim, time_ns()), used)
    turn = cycle(kinds)

    def run(calls: int) -> None:
        for _ in range(calls):
            claim = gate.plan(next(turn)).claim
            ledger.settle(ledger.admit(claim, time_ns()), used)

    return run


def admissions() -> Callable[[int], None]:
    """The public way, with its event and metrics."""
    handle = atm.init(
        budgets=BUDGETS,
        store=None,
        meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False),
    )
    del handle

    def run(calls: int) -> None:
        for _ in range(calls):
            with atm.admit(tokens=1_200, model="gpt-5.1") as call:
                call.settle(input_tokens=900, output_tokens=210)

    return run


def ratios(rounds: int = 25, calls: int = 1_000) -> dict[str, float]:
    """All of them, interleaved."""
    chance = random.Random(7)
    total = (rounds + 1) * calls
    # Of a million users a few call most of the time; they have done so for a while.
    users: dict[int, Kind] = {}
    ranks = [int(chance.paretovariate(0.6)) % 1_000_000 for _ in range(300_000 + total)]
    skewed = [users.setdefault(rank, _kind(f"user{rank}")) for rank in ranks]
    strangers = [_kind(f"{number:036d}") for number in range(total)]
    with atm.context(user="ann", team="ml", app="bench"):
        middle = medians(
            measure(
                {
                    "limits": limits_hits(),
                    "held": ledger_calls(BUDGETS),
                    "one": planned_calls(BUDGETS, [_kind("ann")]),
                    "rules": planned_calls([*BUDGETS, *NOBODYS], [_kind("ann")]),
                    "skewed": planned_calls(BUDGETS, skewed[300_000:], skewed[:300_000]),
                    "cold": planned_calls(BUDGETS, strangers),
                    "public": admissions(),
                },
                rounds=rounds,
                calls=calls,
            )
        )
    limits, one = middle["limits"], middle["one"]
    return {
        "admit + settle, three budgets": middle["held"] / limits,
        "with atm.admit(...)": middle["public"] / limits,
        "a cold user": middle["cold"] / limits,
        "1,000 rules of which 3 match": middle["rules"] / one,
        "1,000,000 users, skewed": middle["skewed"] / one,
        "limits, three hits, µs": limits * 1e6,
    }


def bytes_per_user(users: int = 1_000_000) -> float:
    """What a user and budget takes when all have spent something and nothing is held."""
    gate = _gate(["1bn tokens / day per user"])
    names = (f"{number:036d}" for number in range(users))
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for name in names:
        plan = gate.plan(_kind(name))
        gate.ledger.settle(gate.ledger.admit(plan.claim, time_ns()), (1_110, 900, 210, 1))
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / users
