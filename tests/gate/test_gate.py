from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm import Scope, TokenQuotaExceeded, UsageEvent
from otel_atm.budget import Budget, read_budgets
from otel_atm.gate import NO_TOKENS, Call, Gate, Kind, Labels, Telling, Tokens, Totals
from otel_atm.ledger import MemoryLedger
from otel_atm.testing import ManualClock

USED: Tokens = (11, 7, 4, 2, 3)
PER_USER = "1000 tokens / minute per user"
TTL_S = 900


class Bench:
    """A gate, its ledger and its rows."""

    def __init__(self, clock: ManualClock, *budgets: Budget | str, default_hold: int = 100) -> None:
        self.clock = clock
        self.rows: list[UsageEvent] = []
        self.ledger = MemoryLedger()
        self.gate = Gate(
            read_budgets(budgets),
            self.ledger,
            clock=clock,
            default_hold=default_hold,
            sinks=[self.sink],
        )

    def sink(self, call: Call) -> None:
        self.rows.append(call.event())

    def begin(
        self,
        *,
        emitter: str = "openai",
        model: str | None = "gpt-5.1",
        operation: str = "chat",
        ancestor: Call | None = None,
        **who: Any,
    ) -> Call:
        plan = self.gate.plan(kind(model=model, operation=operation, **who))
        return self.gate.begin(plan, "span", emitter, ancestor, 0xABC, 0xDEF)

    def spend(self, tokens: Tokens, **who: Any) -> None:
        self.gate.settle(self.begin(**who), tokens)

    def configure(self, *budgets: Budget | str, default_hold: int = 100) -> None:
        self.gate.configure(read_budgets(budgets), default_hold=default_hold, sinks=[self.sink])

    @property
    def amounts(self) -> dict[str, tuple[int, int]]:
        """Payer → (used, held)."""
        return {
            " ".join(balance.key.values): (balance.used, balance.held)
            for balance in self.ledger.balances(self.clock())
        }

    @property
    def totals(self) -> dict[Labels | None, tuple[int, int, int]]:
        """Labels → (calls, input, output)."""
        self.gate.tally.add_up_all()
        return {
            labels: (total.calls, total.input_tokens, total.output_tokens)
            for labels, total in self.gate.totals.all()
            if total.calls
        }


def kind(
    *, model: str | None = "gpt-5.1", operation: str = "chat", provider: str = "openai", **who: Any
) -> Kind:
    return Kind(Scope(**who), provider, model, operation)


@pytest.fixture
def make(clock: ManualClock) -> Callable[..., Bench]:
    return lambda *budgets, **settings: Bench(clock, *budgets, **settings)


@pytest.fixture
def bench(clock: ManualClock) -> Bench:
    return Bench(clock, PER_USER)


def row_of(call: Call, clock: ManualClock, **different: Any) -> UsageEvent:
    """The row of a call of ann's that used 18 tokens, but for what is different."""
    plain = UsageEvent(
        event_id=call.id,
        ts_us=clock() // 1_000,
        trace_id=f"{0xABC:032x}",
        span_id=f"{0xDEF:016x}",
        duration_us=None,
        ttft_us=None,
        service=None,
        app=None,
        env=None,
        team=None,
        user_id="ann",
        session_id=None,
        provider="openai",
        model="gpt-5.1",
        operation="chat",
        status="ok",
        decision="allowed",
        budget=None,
        calls=1,
        attempts=1,
        input_tokens=11,
        output_tokens=7,
        cache_read_tokens=4,
        cache_write_tokens=2,
        reasoning_tokens=3,
        total_tokens=18,
        cost_usd=None,
        price_version=None,
        estimated=False,
        source="span",
        tags=(),
        attributes={},
        revision=0,
    )
    return replace(plain, **different)


NOTHING = dict.fromkeys(
    (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "total_tokens",
    ),
    0,
)
ESTIMATE = {**NOTHING, "input_tokens": 50, "output_tokens": 50, "total_tokens": 100}


class TestAdmission:
    def test_holds_the_estimate_until_the_call_is_settled(self, bench: Bench) -> None:
        call = bench.begin(user="ann")
        assert (call.refusal, bench.rows, bench.amounts) == (None, [], {"ann": (0, 100)})
        bench.gate.settle(call, USED)
        assert bench.amounts == {"ann": (18, 0)}

    def test_half_of_the_estimate_is_input(self, make: Callable[..., Bench]) -> None:
        units = [f"1000 {unit} / day" for unit in ("tokens", "input_tokens", "output_tokens")]
        bench = make(*units, "9 calls / day", default_hold=101)
        bench.begin()
        held = [balance.held for balance in bench.ledger.balances(bench.clock())]
        assert held == [101, 50, 51, 1]

    def test_needs_no_budget(self, make: Callable[..., Bench], clock: ManualClock) -> None:
        bench = make()
        call = bench.begin(user="ann")
        bench.gate.settle(call, USED)
        assert (bench.rows, bench.amounts) == ([row_of(call, clock)], {})

    def test_asks_only_the_budgets_that_match(self, make: Callable[..., Bench]) -> None:
        bench = make("1000 tokens / day where team=ml", "1000 tokens / day where model=gpt-5.1")
        bench.begin(team="ml", model="o9")
        bench.begin(team="web", model="o9")
        assert [str(balance.key.budget) for balance in bench.ledger.balances(bench.clock())] == [
            "1000 tokens / day where team=ml"
        ]

    def test_counts_apart_by_what_the_call_itself_brings(self, make: Callable[..., Bench]) -> None:
        bench = make("1000 tokens / day per provider, model, user")
        bench.begin(user="ann", model="gpt-5.1")
        bench.begin(user="ann", model="o9")
        bench.begin(model=None)
        assert bench.amounts == {
            "openai gpt-5.1 ann": (0, 100),
            "openai o9 ann": (0, 100),
            "openai  ": (0, 100),
        }

    def test_names_each_call_by_its_time(self, bench: Bench, clock: ManualClock) -> None:
        first = bench.begin()
        clock.advance(1)
        second = bench.begin()
        assert (first.id < second.id, int(second.id.replace("-", "")[:12], 16)) == (
            True,
            clock() // 1_000_000,
        )


class TestSettling:
    def test_writes_one_row(self, bench: Bench, clock: ManualClock) -> None:
        call = bench.begin(user="ann")
        expected = row_of(call, clock)
        clock.advance(3)
        bench.gate.settle(call, USED)
        assert bench.rows == [expected]

    def test_puts_the_payer_in_columns_and_his_own_keys_in_attributes(
        self, bench: Bench, clock: ManualClock
    ) -> None:
        call = bench.begin(
            user="ann",
            team="ml",
            app="bot",
            env="prod",
            service="api",
            session="s1",
            department="x" * 1_000,
            tags=["b", "a"],
        )
        bench.gate.settle(call, USED)
        assert bench.rows == [
            row_of(
                call,
                clock,
                team="ml",
                app="bot",
                env="prod",
                service="api",
                session_id="s1",
                tags=("a", "b"),
                attributes={"department": "x" * 256},
            )
        ]

    def test_of_a_call_whose_usage_is_unknown_charges_the_estimate_and_marks_it(
        self, bench: Bench, clock: ManualClock
    ) -> None:
        call = bench.begin(user="ann")
        bench.gate.settle(call, None, "cancelled", "CancelledError")
        assert bench.rows == [
            row_of(
                call,
                clock,
                status="cancelled",
                estimated=True,
                attributes={"error.type": "CancelledError"},
                **ESTIMATE,
            )
        ]
        assert (bench.amounts, bench.gate.totals.unmetered) == ({"ann": (100, 0)}, 1)

    def test_of_a_failed_call_that_used_something_charges_that(
        self, bench: Bench, clock: ManualClock
    ) -> None:
        call = bench.begin(user="ann")
        bench.gate.settle(call, USED, "error", "ReadTimeout")
        different = {"status": "error", "attributes": {"error.type": "ReadTimeout"}}
        assert bench.rows == [row_of(call, clock, **different)]

    def test_releasing_gives_everything_back_the_request_too(
        self, make: Callable[..., Bench], clock: ManualClock
    ) -> None:
        bench = make(PER_USER, "1 calls / minute")
        call = bench.begin(user="ann")
        bench.gate.release(call, "error", "RateLimitError")
        different = {"status": "error", "attributes": {"error.type": "RateLimitError"}}
        assert bench.rows == [row_of(call, clock, **different, **NOTHING)]
        assert bench.amounts == {"ann": (0, 0), "": (0, 0)}

    @pytest.mark.parametrize("first", ["settle", "estimate", "release"])
    @pytest.mark.parametrize("second", ["settle", "estimate", "release"])
    def test_ending_twice_changes_nothing(self, bench: Bench, first: str, second: str) -> None:
        call = bench.begin(user="ann")
        endings = {
            "settle": lambda: bench.gate.settle(call, USED),
            "estimate": lambda: bench.gate.settle(call, None, "cancelled", "CancelledError"),
            "release": lambda: bench.gate.release(call, "error", "BadRequestError"),
        }
        endings[first]()
        before = bench.amounts, bench.totals, list(bench.rows), call.event()
        endings[second]()
        assert (bench.amounts, bench.totals, bench.rows, call.event()) == before

    def test_a_late_call_is_charged_to_the_window_that_admitted_it(
        self, bench: Bench, clock: ManualClock
    ) -> None:
        call = bench.begin(user="ann")
        clock.advance(60)
        bench.spend((5, 5, 0, 0, 0), user="ann")
        bench.gate.settle(call, (900, 90, 0, 0, 0))
        assert bench.amounts == {"ann": (10, 0)}


class TestRefusal:
    def refused(self, bench: Bench, **who: Any) -> tuple[Call, TokenQuotaExceeded]:
        call = bench.begin(**who)
        assert call.refusal is not None
        return call, call.refusal

    def test_carries_the_facts(self, make: Callable[..., Bench], clock: ManualClock) -> None:
        bench = make("250 tokens / minute per user, team", default_hold=100)
        clock.advance(12.5)
        bench.spend((60, 40, 0, 0, 0), user="ann", team="ml")
        bench.begin(user="ann", team="ml")
        _, refusal = self.refused(bench, user="ann", team="ml")
        assert vars(refusal) == {
            "budget": "250 tokens / minute per user, team",
            "scope": {"user": "ann", "team": "ml"},
            "unit": "tokens",
            "requested": 100,
            "used": 100,
            "held": 100,
            "limit": 250,
            "resets_at": datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
            "retry_after_s": 47.5,
            "reason": None,
            "window": "minute",
        }

    def test_names_the_budget_by_its_name_and_only_the_payer_it_knows(
        self, make: Callable[..., Bench]
    ) -> None:
        bench = make(Budget("1 calls / month per user, model", name="free plan"))
        bench.spend(USED)
        _, refusal = self.refused(bench)
        facts = (refusal.budget, refusal.scope, refusal.unit, refusal.resets_at)
        assert facts == (
            "free plan",
            {"model": "gpt-5.1"},
            "requests",
            datetime(2026, 2, 1, tzinfo=UTC),
        )

    def test_of_several_budgets_names_the_one_that_resets_last(
        self, make: Callable[..., Bench]
    ) -> None:
        bench = make("10 tokens / hour", "10 tokens / day", "10 tokens / minute")
        bench.spend((5, 5, 0, 0, 0))
        _, refusal = self.refused(bench)
        assert (refusal.budget, refusal.retry_after_s) == ("10 tokens / day", 86_400)

    def test_does_not_wait_less_than_nothing_when_the_clock_is_set_back(
        self, make: Callable[..., Bench], clock: ManualClock
    ) -> None:
        bench = make("10 tokens / minute")
        bench.spend((5, 5, 0, 0, 0))
        clock.advance(-3_600)
        _, refusal = self.refused(bench)
        assert (refusal.retry_after_s, refusal.resets_at) == (
            3_660,
            datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
        )

    def test_writes_a_row_and_holds_nothing(
        self, make: Callable[..., Bench], clock: ManualClock
    ) -> None:
        bench = make("10 tokens / minute per user")
        bench.spend((5, 5, 0, 0, 0), user="ann")
        call, _ = self.refused(bench, user="ann")
        expected = row_of(
            call,
            clock,
            status="error",
            decision="refused",
            budget="10 tokens / minute per user",
            attempts=0,
            attributes={"error.type": "TokenQuotaExceeded", "requested": 10},
            **NOTHING,
        )
        assert (bench.rows[1:], bench.amounts) == ([expected], {"ann": (10, 0)})

    def test_cannot_be_settled(self, make: Callable[..., Bench]) -> None:
        bench = make("10 tokens / minute")
        bench.spend((5, 5, 0, 0, 0))
        call, _ = self.refused(bench)
        bench.gate.settle(call, USED)
        bench.gate.release(call)
        assert (len(bench.rows), bench.amounts) == (2, {"": (10, 0)})

    def test_leaves_room_for_whoever_is_within_his_budget(self, make: Callable[..., Bench]) -> None:
        bench = make("10 tokens / minute per user")
        bench.spend((5, 5, 0, 0, 0), user="ann")
        self.refused(bench, user="ann")
        assert bench.begin(user="bob").refusal is None


class TestLostCalls:
    def test_are_written_off_with_the_estimate(self, bench: Bench, clock: ManualClock) -> None:
        call = bench.begin(user="ann")
        expected = row_of(call, clock, status="lost", estimated=True, **ESTIMATE)
        clock.advance(TTL_S)
        bench.gate.expire()
        assert (bench.rows, call.open) == ([expected], False)

    def test_are_found_when_the_next_call_begins(self, bench: Bench, clock: ManualClock) -> None:
        bench.begin(user="ann")
        clock.advance(TTL_S)
        bench.begin(user="bob")
        assert [(row.user_id, row.status) for row in bench.rows] == [("ann", "lost")]

    def test_are_not_those_that_still_have_time(self, bench: Bench, clock: ManualClock) -> None:
        bench.begin(user="ann")
        clock.advance(TTL_S - 1)
        bench.gate.expire()
        assert bench.rows == []

    def test_are_all_of_them_when_nobody_will_end_them_any_more(self, bench: Bench) -> None:
        for user in ("ann", "bob"):
            bench.begin(user=user)
        bench.gate.expire(everything=True)
        assert [(row.user_id, row.status) for row in bench.rows] == [
            ("ann", "lost"),
            ("bob", "lost"),
        ]

    def test_that_were_told_of_are_charged_with_what_was_told(self, bench: Bench) -> None:
        call = bench.begin(user="ann")
        call.told = USED
        bench.gate.expire(everything=True)
        (row,) = bench.rows
        assert (row.status, row.total_tokens, row.estimated) == ("lost", 18, False)

    def test_that_end_after_all_are_corrected_once(
        self, make: Callable[..., Bench], clock: ManualClock
    ) -> None:
        bench = make("1000 tokens / month per user")
        call = bench.begin(user="ann")
        expected = row_of(call, clock, revision=1)
        clock.advance(TTL_S)
        bench.gate.expire()
        bench.gate.settle(call, USED)
        bench.gate.settle(call, (1, 1, 0, 0, 0))
        assert (bench.rows[1:], bench.amounts) == ([expected], {"ann": (18, 0)})

    def test_that_turn_out_to_have_cost_nothing_give_back_the_request_too(
        self, make: Callable[..., Bench]
    ) -> None:
        bench = make("1000 tokens / day", "9 calls / day")
        call = bench.begin()
        bench.gate.expire(everything=True)
        bench.gate.release(call, "error", "InternalServerError")
        assert [balance.used for balance in bench.ledger.balances(bench.clock())] == [0, 0]

    def test_leave_totals_that_never_fall(self, bench: Bench) -> None:
        call = bench.begin(user="ann")
        bench.gate.expire(everything=True)
        bench.gate.settle(call, (80, 7, 0, 0, 0))
        labels = Labels("openai", "gpt-5.1", None, None, None, "allowed")
        assert bench.totals == {labels: (1, 80, 50)}

    def test_are_the_oldest_where_too_many_are_open(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("otel_atm.gate.gate._MAX_OPEN", 10)
        for number in range(30):
            bench.begin(user=f"user{number}")
        lost = [row.user_id for row in bench.rows]
        assert lost == [f"user{number}" for number in range(len(lost))]
        assert 30 - len(lost) <= 10

    def test_are_remembered_up_to_a_bound(self, make: Callable[..., Bench]) -> None:
        bench = make()
        calls = [bench.begin() for _ in range(3_000)]
        bench.gate.expire(everything=True)
        for call in calls:
            bench.gate.settle(call, USED)
        corrected = {row.event_id for row in bench.rows if row.revision}
        assert calls[-1].id in corrected
        assert calls[0].id not in corrected


class TestTwins:
    """Two instrumentations that tell of one call; each has one span of it."""

    def test_another_emitter_below_an_open_call_tells_of_that_call(self, bench: Bench) -> None:
        outer = bench.begin(user="ann", emitter="langchain")
        inner = copy_context().run(
            lambda: bench.begin(user="ann", emitter="openai", ancestor=outer)
        )
        assert inner is outer
        assert bench.amounts == {"ann": (0, 100)}

    def test_and_so_does_one_beside_it_in_the_same_context(self, bench: Bench) -> None:
        first = bench.begin(user="ann", emitter="langchain")
        second = bench.begin(user="ann", emitter="openai")
        assert (second is first, second.emitters) == (True, ("langchain", "openai"))

    def test_a_third_joins_them(self, bench: Bench) -> None:
        first = bench.begin(emitter="langchain")
        assert [bench.begin(emitter=name) for name in ("openai", "httpx")] == [first, first]

    def test_the_same_emitter_tells_of_another_call(self, bench: Bench) -> None:
        outer = bench.begin(user="ann")
        inner = bench.begin(user="ann", ancestor=outer)
        assert inner is not outer
        assert bench.amounts == {"ann": (0, 200)}

    def test_another_model_is_another_call(self, bench: Bench) -> None:
        outer = bench.begin(emitter="langchain", model="gpt-5.1")
        assert bench.begin(emitter="openai", model="o9", ancestor=outer) is not outer

    def test_another_operation_is_another_call(self, bench: Bench) -> None:
        outer = bench.begin(emitter="langchain")
        other = bench.begin(emitter="openai", operation="embeddings", ancestor=outer)
        assert other is not outer

    def test_a_model_that_is_not_said_fits_any(self, bench: Bench) -> None:
        outer = bench.begin(emitter="langchain", model=None)
        assert bench.begin(emitter="openai", ancestor=outer) is outer

    def test_a_call_that_has_ended_has_none(self, bench: Bench) -> None:
        first = bench.begin(emitter="langchain")
        bench.gate.settle(first, USED)
        assert bench.begin(emitter="openai", ancestor=first) is not first

    def test_beside_each_other_they_begin_within_five_seconds(
        self, bench: Bench, clock: ManualClock
    ) -> None:
        first = bench.begin(emitter="langchain")
        clock.advance(5)
        assert bench.begin(emitter="openai") is first
        clock.advance(0.001)
        assert bench.begin(emitter="httpx") is not first

    def test_below_each_other_they_have_all_the_time_of_the_call(
        self, bench: Bench, clock: ManualClock
    ) -> None:
        first = bench.begin(emitter="langchain")
        clock.advance(600)
        assert bench.begin(emitter="openai", ancestor=first) is first

    def test_concurrent_tasks_are_not_taken_for_each_other(self, bench: Bench) -> None:
        async def work(emitter: str, inside: asyncio.Barrier) -> Call:
            call = bench.begin(emitter=emitter)
            await inside.wait()
            return call

        async def both() -> list[Call]:
            inside = asyncio.Barrier(2)
            return await asyncio.gather(work("langchain", inside), work("openai", inside))

        first, second = copy_context().run(asyncio.run, both())
        assert first is not second

    def test_a_call_of_another_gate_is_not_joined(self, make: Callable[..., Bench]) -> None:
        ours, theirs = make(), make()
        call = theirs.begin(emitter="langchain")
        assert ours.begin(emitter="openai", ancestor=call) is not call


class TestCharge:
    """Of calls that show only at their end what they were."""

    def test_is_never_refused(self, make: Callable[..., Bench], clock: ManualClock) -> None:
        bench = make("10 tokens / minute per user")
        for _ in range(2):
            call = bench.gate.charge(bench.gate.plan(kind(user="ann")), "span", "o", 0xABC, 0xDEF)
            bench.gate.settle(call, USED)
        assert (bench.rows[1:], bench.amounts) == ([row_of(call, clock)], {"ann": (36, 0)})

    def test_needs_no_budget_and_no_span(
        self, make: Callable[..., Bench], clock: ManualClock
    ) -> None:
        bench = make()
        call = bench.gate.charge(bench.gate.plan(kind(user="ann")), "span", "openai")
        bench.gate.settle(call, USED)
        assert bench.rows == [row_of(call, clock, trace_id=None, span_id=None)]

    def told(self, bench: Bench, emitter: str = "langchain", **different: Any) -> bool:
        now_ns = bench.clock()
        facts = {
            "kind": kind(user="bob"),
            "emitter": emitter,
            "tokens": USED,
            "start_ns": now_ns - 1_000_000_000,
            "end_ns": now_ns + 1_000_000_000,
        }
        return bench.gate.recent.find(Telling(**{**facts, **different})) is not None

    def test_a_call_that_another_emitter_told_is_known(self, bench: Bench) -> None:
        bench.spend(USED)
        assert self.told(bench)

    def test_it_is_known_to_each_emitter_once(self, bench: Bench) -> None:
        bench.spend(USED)
        assert [self.told(bench), self.told(bench), self.told(bench, "httpx")] == [
            True,
            False,
            True,
        ]

    def test_equal_calls_are_known_one_by_one(self, bench: Bench) -> None:
        for _ in range(3):
            bench.spend(USED)
        assert [self.told(bench) for _ in range(4)] == [True, True, True, False]

    def test_an_estimate_fits_any_usage(self, bench: Bench) -> None:
        bench.gate.settle(bench.begin(), None)
        assert self.told(bench)

    @pytest.mark.parametrize(
        "different",
        [
            {"emitter": "openai"},
            {"tokens": (11, 8, 0, 0, 0)},
            {"kind": kind(model="o9")},
            {"kind": kind(operation="embeddings")},
        ],
        ids=["the same emitter", "another usage", "another model", "another operation"],
    )
    def test_another_call_is_not(self, bench: Bench, different: dict[str, Any]) -> None:
        bench.spend(USED)
        assert not self.told(bench, **different)

    def test_nor_is_one_that_began_before(self, bench: Bench, clock: ManualClock) -> None:
        bench.spend(USED)
        assert not self.told(bench, start_ns=clock() + 6_000_000)


class TestSinks:
    def test_take_each_row_in_their_order(self, clock: ManualClock) -> None:
        seen: list[str] = []
        sinks = [lambda call: seen.append("one"), lambda call: seen.append("two")]
        gate = Gate((), MemoryLedger(), clock=clock, sinks=sinks)
        gate.settle(gate.begin(gate.plan(kind()), "span", "openai"), USED)
        assert seen == ["one", "two"]

    def test_that_raise_are_counted_said_once_and_passed_over(
        self, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows: list[int] = []

        def broken(call: Call) -> None:
            raise RuntimeError("the prompt was: SECRET")

        sinks = [broken, lambda call: rows.append(call.event().total_tokens)]
        gate = Gate(read_budgets(["10 tokens / day"]), MemoryLedger(), clock=clock, sinks=sinks)
        gate.settle(gate.begin(gate.plan(kind()), "span", "openai"), USED)
        assert gate.begin(gate.plan(kind()), "span", "openai").refusal is not None
        assert rows == [18, 0]
        assert (gate.trouble.counts, gate.trouble.dropped) == ({"sink": 2}, {"sink": 2})
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "RuntimeError" in caplog.text
        assert "SECRET" not in caplog.text


class TestConfigure:
    def test_changes_limits_and_keeps_what_was_spent(self, make: Callable[..., Bench]) -> None:
        bench = make("10 tokens / minute per user")
        bench.spend((5, 5, 0, 0, 0), user="ann")
        bench.configure("200 tokens / minute per user")
        assert bench.begin(user="ann").refusal is None
        assert bench.amounts == {"ann": (10, 100)}
        bench.configure("50 tokens / minute per user")
        assert bench.begin(user="ann").refusal is not None

    def test_changes_what_is_held(self, bench: Bench) -> None:
        bench.configure(PER_USER, default_hold=300)
        bench.begin(user="ann")
        assert bench.amounts == {"ann": (0, 300)}

    def test_settles_what_is_in_flight_where_it_was_held(self, bench: Bench) -> None:
        call = bench.begin(user="ann")
        bench.configure("500 tokens / minute per user")
        bench.gate.settle(call, USED)
        bench.begin(user="ann")
        assert bench.amounts == {"ann": (18, 100)}

    def test_takes_budgets_away(self, make: Callable[..., Bench]) -> None:
        bench = make("10 tokens / minute")
        bench.spend((5, 5, 0, 0, 0))
        bench.configure()
        assert bench.begin().refusal is None

    def test_changes_sinks(self, bench: Bench) -> None:
        seen: list[str] = []
        bench.gate.configure(
            (), default_hold=1, sinks=[lambda call: seen.append(call.event().status)]
        )
        bench.spend(USED)
        assert (seen, bench.rows) == (["ok"], [])


class TestForkedChild:
    def test_forgets_what_its_parent_has_in_flight(self, bench: Bench) -> None:
        bench.spend(USED, user="ann")
        call = bench.begin(user="ann")
        bench.gate.after_fork()
        bench.gate.settle(call, USED)
        bench.gate.expire(everything=True)
        assert (len(bench.rows), bench.amounts) == (1, {"ann": (18, 0)})

    def test_does_not_join_its_parents_calls(self, bench: Bench) -> None:
        call = bench.begin(emitter="langchain")
        bench.gate.after_fork()
        assert bench.begin(emitter="openai", ancestor=call) is not call

    def test_counts_from_zero(self, bench: Bench) -> None:
        bench.gate.settle(bench.begin(), None)
        bench.gate.after_fork()
        assert (bench.totals, bench.gate.totals.unmetered) == ({}, 0)
        bench.spend(USED)
        assert list(bench.totals.values()) == [(1, 11, 7)]

    def test_makes_ids_of_its_own(self, bench: Bench) -> None:
        def series(call: Call) -> str:
            return call.id[14:-8]  # all but the milliseconds and the counter

        before = series(bench.begin())
        bench.gate.after_fork()
        assert series(bench.begin()) != before


class TestTotals:
    def test_are_kept_by_label_and_never_by_user(self, bench: Bench) -> None:
        for user in ("ann", "bob"):
            bench.spend(USED, user=user, app="bot", env="prod", team="ml", session=user)
        bench.spend(USED, model="o9")
        assert bench.totals == {
            Labels("openai", "gpt-5.1", "bot", "prod", "ml", "allowed"): (2, 22, 14),
            Labels("openai", "o9", None, None, None, "allowed"): (1, 11, 7),
        }

    def test_count_refusals_apart(self, make: Callable[..., Bench]) -> None:
        bench = make("10 tokens / minute")
        bench.spend(USED)
        bench.begin()
        labels = Labels("openai", "gpt-5.1", None, None, None, "allowed")
        assert bench.totals == {labels: (1, 11, 7), labels._replace(decision="refused"): (1, 0, 0)}

    def test_past_their_bound_share_one_without_labels(
        self, make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Totals, "BOUND", 3)
        bench = make()
        for number in range(6):
            bench.spend(USED, model=f"model{number}")
        bench.spend(USED, model="model0")
        label = Labels("openai", "model0", None, None, None, "allowed")
        assert bench.totals == {
            label: (2, 22, 14),
            label._replace(model="model1"): (1, 11, 7),
            label._replace(model="model2"): (1, 11, 7),
            None: (3, 33, 21),
        }

    @given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50), st.integers(0, 50))))
    def test_agree_with_rows_and_ledger(self, calls: list[tuple[str, int, int]]) -> None:
        bench = Bench(ManualClock(), "1M tokens / day")
        for model, given_tokens, made in calls:
            bench.spend((given_tokens, made, 0, 0, 0), model=model)
        spent = sum(given_tokens + made for _, given_tokens, made in calls)
        assert sum(row.total_tokens for row in bench.rows) == spent
        assert sum(total[1] + total[2] for total in bench.totals.values()) == spent
        assert sum(used for used, _ in bench.amounts.values()) == spent


def test_an_event_can_be_turned_into_a_row(bench: Bench, clock: ManualClock) -> None:
    call = bench.begin(user="ann")
    bench.gate.settle(call, NO_TOKENS)
    assert asdict(bench.rows[0]) == asdict(row_of(call, clock, **NOTHING))
