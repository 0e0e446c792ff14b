"""Emitters that pass over a refusal: their calls are let through, metered and marked."""

from __future__ import annotations

import logging

import pytest

from otel_atm import Scope, UsageEvent
from otel_atm.budget import read_budgets
from otel_atm.gate import Gate, Kind
from otel_atm.ledger import MemoryLedger
from otel_atm.spans.emitters import swallows
from otel_atm.testing import ManualClock

BUDGET = "10 tokens / day per user"


def test_a_call_that_cannot_be_refused_is_charged_and_says_which_budget_was_used_up(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    rows: list[UsageEvent] = []
    ledger = MemoryLedger()
    gate = Gate(
        read_budgets([BUDGET]),
        ledger,
        clock=clock,
        sinks=[lambda call: rows.append(call.event())],
        swallows=swallows,
    )
    plan = gate.plan(Kind(Scope(user="ann"), "anthropic", "claude", "chat"))
    for _ in range(3):
        call = gate.begin(plan, "span", "com.anthropic.sdk.python")
        assert call.refusal is None
        gate.settle(call, (11, 7, 0, 0, 0))
    found = [(row.decision, row.total_tokens, dict(row.attributes)) for row in rows]
    let_through = ("allowed", 18, {"would_refuse": BUDGET})
    assert found == [("allowed", 18, {}), let_through, let_through]
    assert [(balance.used, balance.held) for balance in ledger.balances(clock())] == [(54, 0)]
    warning = (
        f"otel-atm: budget {BUDGET} is used up, but com.anthropic.sdk.python passes over "
        "refusals: its calls are let through and metered"
    )
    assert [record.getMessage() for record in caplog.records] == [warning]
    assert caplog.records[0].levelno == logging.WARNING


def test_how_such_a_call_ends_does_not_hide_the_mark(clock: ManualClock) -> None:
    rows: list[UsageEvent] = []
    gate = Gate(
        read_budgets(["1 request / day"]),
        MemoryLedger(),
        clock=clock,
        sinks=[lambda call: rows.append(call.event())],
        swallows=lambda _: True,
    )
    plan = gate.plan(Kind(Scope(), None, None, "chat"))
    gate.settle(gate.begin(plan, "span", "x"), (1, 1, 0, 0, 0))
    gate.settle(gate.begin(plan, "span", "x"), None, "error", "APITimeoutError")
    gate.release(gate.begin(plan, "span", "x"), "error", "RateLimitError")
    gate.begin(plan, "span", "x")
    gate.expire(everything=True)
    marks = [(row.status, row.estimated, row.attributes.get("would_refuse")) for row in rows]
    budget = "1 requests / day"
    assert marks == [
        ("ok", False, None),
        ("error", True, budget),
        ("error", False, budget),
        ("lost", True, budget),
    ]


@pytest.mark.parametrize(
    ("scope", "passes_over"),
    [
        ("com.anthropic.sdk.python", True),
        ("openinference.instrumentation.openai", True),
        ("opentelemetry.instrumentation.genai.langchain", True),
        ("logfire.openai", True),
        ("opentelemetry.instrumentation.genai.openai", False),
        ("opentelemetry.instrumentation.genai.anthropic", False),
        ("pydantic-ai", False),
        ("agent_framework", False),
        ("", False),
    ],
)
def test_who_passes_over_refusals(scope: str, passes_over: bool) -> None:
    assert swallows(scope) is passes_over
