"""What happens on the way to a limit, and past it: alerts, warn, degrade, block, shadow, stop."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from otel_atm import Scope, UsageEvent
from otel_atm.budget import Budget, read_budgets
from otel_atm.gate import Alert, Call, Gate, Kind, Labels
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock


class Desk:
    """A gate with one budget, and what came out of it."""

    def __init__(self, clock: ManualClock, *budgets: Budget | str) -> None:
        self.clock = clock
        self.rows: list[UsageEvent] = []
        self.alerts: list[Alert] = []
        self.gate = Gate(
            read_budgets(budgets),
            MemoryLedger(),
            clock=clock,
            default_hold=10,
            sinks=[lambda call: self.rows.append(call.event())],
        )
        self.gate.alerts.listen(self.alerts.append)

    def plan(self, model: str = "gpt-5.1", **who: str) -> Any:
        return self.gate.plan(Kind(Scope(**{"user": "ann", **who}), "openai", model, "chat"))

    def begin(self, **who: str) -> Call:
        return self.gate.begin(self.plan(**who), "span", "openai")

    def spend(self, tokens: int, **who: str) -> Call:
        call = self.begin(**who)
        if call.refusal is None:
            self.gate.settle(call, (tokens, 0, 0, 0, 0))
        return call

    @property
    def decisions(self) -> list[tuple[str, str | None]]:
        """(decision, budget) of each row."""
        return [(row.decision, row.budget) for row in self.rows]


PER_USER = "100 tokens / day per user"


class TestAlerts:
    def test_are_told_through_callback_log_and_count(
        self, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk = Desk(clock, Budget(PER_USER, alert_at=[0.5, "80%"], name="daily"))
        with caplog.at_level(logging.WARNING, logger="otel_atm"):
            for _ in range(9):
                desk.spend(10)
        assert desk.alerts == [
            Alert(
                budget="daily",
                scope={"user": "ann"},
                level=level,
                used=used,
                limit=100,
                unit="tokens",
                window="day",
                resets_at=desk.gate.oversight.statuses()[0].resets_at,
            )
            for level, used in ((0.5, 50), (0.8, 80))
        ]
        assert [record.message for record in caplog.records] == [
            "otel-atm: user='ann' used 50% (50 of 100 tokens) [budget: daily]",
            "otel-atm: user='ann' used 80% (80 of 100 tokens) [budget: daily]",
        ]
        assert desk.gate.alerts.counts == {("daily", 0.5): 1, ("daily", 0.8): 1}

    def test_a_listener_that_fails_costs_nobody_anything(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget(PER_USER, alert_at=0.1))
        told: list[Alert] = []

        def broken(_: Alert) -> None:
            raise RuntimeError("no route to Slack")

        desk.gate.alerts.listen(broken)
        desk.gate.alerts.listen(told.append)
        desk.spend(20)
        assert (len(told), desk.gate.trouble.counts) == (1, {"alert": 1})


class TestActions:
    def test_block_refuses(self, clock: ManualClock) -> None:
        desk = Desk(clock, PER_USER)
        desk.spend(100)
        assert desk.spend(1).refusal is not None
        assert desk.decisions == [("allowed", None), ("refused", PER_USER)]

    def test_warn_lets_in_and_says_so(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget(PER_USER, action="warn"))
        for _ in range(3):
            desk.spend(80)
        assert desk.decisions == [("allowed", None), ("allowed", None), ("warned", PER_USER)]

    def test_degrade_advises_another_model_up_to_its_floor(self, clock: ManualClock) -> None:
        budget = Budget(PER_USER, action="degrade", degrade_to="gpt-5.1-mini", block_at=1.5)
        desk = Desk(clock, budget)
        assert desk.gate.oversight.advice(desk.plan()) is None
        desk.spend(100)
        assert desk.gate.oversight.advice(desk.plan()) == "gpt-5.1-mini"
        assert desk.gate.oversight.advice(desk.plan(user="bob")) is None
        desk.spend(50)
        assert desk.spend(1).refusal is not None
        assert [decision for decision, _ in desk.decisions] == ["allowed", "degraded", "refused"]

    def test_shadow_counts_what_it_would_have_refused(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget(PER_USER, action="shadow"))
        for _ in range(3):
            desk.spend(60)
        assert desk.decisions == [("allowed", None)] * 3
        assert [row.attributes.get("would_refuse") for row in desk.rows] == [None, None, PER_USER]

    def test_of_several_the_hardest_one_decides(self, clock: ManualClock) -> None:
        desk = Desk(
            clock,
            Budget("50 tokens / day", action="warn", name="soft"),
            Budget("60 tokens / day", action="degrade", degrade_to="mini", name="cheaper"),
            Budget("55 tokens / day", action="shadow", name="trial"),
            Budget("70 tokens / day", name="hard"),
        )
        for tokens in (52, 8, 5, 5, 1):
            desk.spend(tokens)
        assert desk.decisions == [
            ("allowed", None),
            ("warned", "soft"),
            ("degraded", "cheaper"),
            ("degraded", "cheaper"),
            ("refused", "hard"),
        ]
        assert desk.rows[2].attributes == {"would_refuse": "trial"}

    def test_metrics_tell_the_decisions_apart(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget(PER_USER, action="warn"))
        for _ in range(3):
            desk.spend(100)
        desk.gate.tally.add_up_all()
        assert {
            labels.decision: total.calls
            for labels, total in desk.gate.totals.all()
            if isinstance(labels, Labels)
        } == {"allowed": 1, "warned": 2}


class TestAnOperator:
    def test_stops_every_call_also_those_without_a_budget(self, clock: ManualClock) -> None:
        desk = Desk(clock)
        desk.gate.stop("operator", stopped=True)
        refusal = desk.spend(1).refusal
        assert refusal is not None
        assert str(refusal) == (
            "this call was refused: all calls are stopped by an operator [budget: stop]"
        )
        desk.gate.stop("operator", stopped=False)
        assert desk.spend(1).refusal is None
        assert desk.decisions == [("refused", "stop"), ("allowed", None)]

    def test_who_stops_has_to_let_go_on(self, clock: ManualClock) -> None:
        desk = Desk(clock)
        desk.gate.stop("operator", stopped=True)
        desk.gate.stop("application", stopped=True)
        desk.gate.stop("operator", stopped=False)
        assert desk.spend(1).refusal is not None

    def test_grants_resets_and_exempts_by_the_budgets_name(self, clock: ManualClock) -> None:
        desk = Desk(clock, Budget("0.0001 USD / day per user", name="money"))
        desk.gate.oversight.grant("money", 0.0002, {"user": "ann"})
        assert [status.limit for status in desk.gate.oversight.statuses()] == [0.0003]

    @pytest.mark.parametrize(
        ("budget", "payer", "problem"),
        [
            ("daly", {"user": "ann"}, "budget='daly': expected one of those in force: 'daily'"),
            ("daily", {}, "'daily' counts apart by ['user']; given: {}"),
            ("daily", {"team": "ml"}, "'daily' counts apart by ['user']; given: {'team': 'ml'}"),
        ],
    )
    def test_is_told_what_is_wrong(
        self, clock: ManualClock, budget: str, payer: dict[str, str], problem: str
    ) -> None:
        desk = Desk(clock, Budget(PER_USER, name="daily"))
        with pytest.raises(ValueError) as failure:
            desk.gate.oversight.reset(budget, payer)
        assert str(failure.value) == problem


class TestADecision:
    def test_offers_the_facts_of_the_budget_with_the_least_left(self, clock: ManualClock) -> None:
        desk = Desk(clock, PER_USER, "500 tokens / hour")
        desk.spend(40)
        decision = desk.gate.decision(desk.begin())
        assert (decision.name, decision.budget, decision.scope) == (
            "allowed",
            PER_USER,
            {"user": "ann"},
        )
        assert (decision.used, decision.held, decision.limit) == (40, 10, 100)
        assert (decision.retry_after_s, decision.unit, decision.window) == (0, "tokens", "day")
        assert decision.resets_at is not None
        assert decision.resets_at.isoformat() == "2026-01-02T00:00:00+00:00"

    def test_of_a_call_under_no_budget_says_so(self, clock: ManualClock) -> None:
        desk = Desk(clock)
        assert desk.gate.decision(desk.begin()).budget is None
