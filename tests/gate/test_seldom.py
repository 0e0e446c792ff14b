"""What repeats is logged once a minute, with how often it was so."""

from __future__ import annotations

import logging

import pytest

from otel_atm import Scope
from otel_atm.budget import read_budgets
from otel_atm.gate import Gate, Kind
from otel_atm.gate import seldom as seldom_module
from otel_atm.gate.seldom import Seldom
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return messages


def test_each_subject_is_spoken_of_once_a_minute(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    seldom = Seldom()
    for _ in range(4):
        for subject in ("one", "other"):
            seldom.warn(subject, clock(), "%s is used up", subject)
        clock.advance(15)
    assert said(caplog) == ["one is used up", "other is used up"]
    seldom.warn("one", clock(), "%s is used up", "one")
    assert said(caplog) == ["one is used up (3 more times since this was last said)"]
    clock.advance(60)
    seldom.warn("one", clock(), "%s is used up", "one")
    assert said(caplog) == ["one is used up"]


def test_few_subjects_are_remembered(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seldom_module, "_MOST", 2)
    seldom = Seldom()
    for subject in ("1", "2", "3", "1"):
        seldom.warn(subject, clock(), subject)
    assert said(caplog) == ["1", "2", "3", "1"]


def test_calls_that_are_let_through_past_a_budget_are_a_warning_a_minute(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(
        read_budgets(["1 request / day"]), MemoryLedger(), clock=clock, swallows=lambda _: True
    )
    plan = gate.plan(Kind(Scope(), None, None, "chat"))
    for _ in range(121):
        gate.settle(gate.begin(plan, "span", "logfire.openai"), (1, 1, 0, 0, 0))
        clock.advance(1)
    message = (
        "otel-atm: budget 1 requests / day is used up, but logfire.openai passes over refusals: "
        "its calls are let through and metered"
    )
    more = " (59 more times since this was last said)"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert said(caplog) == [message, message + more]
