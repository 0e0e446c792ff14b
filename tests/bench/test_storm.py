"""What a refusal costs that is one more of many, against one that is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.interleaved import measure, medians
from otel_atm import Scope
from otel_atm.gate import Gate, Kind
from otel_atm.gate.refusal import stopped
from otel_atm.ledger import MemoryLedger
from otel_atm.store.spool import Spool
from otel_atm.testing import ManualClock
from otel_atm.trouble import Trouble

pytestmark = pytest.mark.ratio


def test_a_refusal_that_repeats_costs_a_third_of_one_that_is_written(tmp_path: Path) -> None:
    clock, spool = ManualClock(), Spool(tmp_path, Trouble())
    gate = Gate([], MemoryLedger(), clock=clock, sinks=[spool.append])
    plan = gate.plan(Kind(Scope(user="ann"), "openai", "gpt-5.1", "chat"))
    refusal = stopped(100, ["operator"])

    def refuse(times: int, seconds: float) -> None:
        for _ in range(times):
            clock.advance(seconds)
            gate.refuse(gate.prepare(plan, "span", "openai", 7), refusal)

    def make(times: int) -> None:
        for _ in range(times):
            clock.advance(0.0)
            gate.prepare(plan, "span", "openai", 7)

    cases = {"made": make, "many": lambda n: refuse(n, 0.0), "written": lambda n: refuse(n, 1.0)}

    def ratio() -> float:
        cost = medians(measure(cases, calls=500))
        return (cost["many"] - cost["made"]) / (cost["written"] - cost["made"])

    found = min(ratio() for _ in range(3))
    spool.seal()
    print(f"a refusal that repeats: {found:.2f} of a written one")  # noqa: T201
    assert found <= 2 * 0.3
