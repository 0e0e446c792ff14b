"""Calls that no span covers: admitted by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import otel_atm as atm
from otel_atm import TokenQuotaExceeded, Usage, UsageEvent
from otel_atm.config import Settings
from otel_atm.faces import TokenSpanProcessor
from otel_atm.testing import ManualClock

PER_USER = "1000 tokens / day per user"


class Office:
    """A processor whose rows are seen."""

    def __init__(self, clock: ManualClock, *budgets: Any) -> None:
        self.processor = TokenSpanProcessor(budgets, clock=clock)
        self.rows: list[UsageEvent] = []
        gate = self.processor._gate
        gate._sinks = (lambda call: self.rows.append(call.event()),)
        self.admit = self.processor.admit

    @property
    def amounts(self) -> list[tuple[float, float]]:
        return [(status.used, status.held) for status in self.processor.budgets()]


@pytest.fixture
def office(clock: ManualClock) -> Iterator[Office]:
    with atm.context(user="ann", team="ml"):
        yield Office(clock, PER_USER)


class TestACall:
    def test_is_held_and_settled(self, office: Office) -> None:
        with office.admit(tokens=600, model="gpt-5.1", provider="openai") as call:
            assert office.amounts == [(0, 600)]
            call.settle(input_tokens=300, output_tokens=200, cache_read_tokens=100)
        assert office.amounts == [(500, 0)]
        (row,) = office.rows
        assert (row.source, row.user_id, row.team, row.model, row.provider) == (
            "admit",
            "ann",
            "ml",
            "gpt-5.1",
            "openai",
        )
        assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (300, 200, 100)
        assert (row.event_id, row.estimated, row.status) == (call.call_id, False, "ok")

    def test_takes_a_usage_too(self, office: Office) -> None:
        with office.admit(tokens=600) as call:
            call.settle(Usage(5, 6, 1, 2, 3, estimated=True))
        assert (office.rows[0].total_tokens, office.rows[0].estimated) == (11, True)

    def test_that_is_settled_twice_is_charged_once(self, office: Office) -> None:
        with office.admit(tokens=600) as call:
            call.settle(input_tokens=10)
            call.settle(input_tokens=70)
            call.release()
        assert (office.amounts, len(office.rows)) == ([(10, 0)], 1)

    def test_that_used_nothing_is_released(self, office: Office) -> None:
        with office.admit(tokens=600) as call:
            call.release()
        assert (office.amounts, office.rows[0].total_tokens) == ([(0, 0)], 0)

    def test_left_without_a_word_is_charged_with_what_was_stated(self, office: Office) -> None:
        with office.admit(tokens=600):
            pass
        assert office.amounts == [(600, 0)]
        assert (office.rows[0].estimated, office.rows[0].status) == (True, "ok")

    @pytest.mark.parametrize(
        ("error", "status"),
        [(KeyError("x"), "error"), (asyncio.CancelledError(), "cancelled")],
    )
    def test_left_by_an_error_as_well(
        self, office: Office, error: BaseException, status: str
    ) -> None:
        with pytest.raises(type(error)), office.admit(tokens=600):
            raise error
        (row,) = office.rows
        assert office.amounts == [(600, 0)]
        assert (row.estimated, row.status, row.attributes["error.type"]) == (
            True,
            status,
            type(error).__qualname__,
        )

    def test_of_which_nothing_is_stated_holds_what_such_calls_use(self, office: Office) -> None:
        with office.admit() as call:
            assert office.amounts == [(0, 1000)]
            call.settle(input_tokens=1)

    def test_may_hold_more_when_more_is_known(self, office: Office) -> None:
        with office.admit(tokens=100) as call:
            call.amend(input_tokens=700, output_tokens=200)
            assert office.amounts == [(0, 900)]
            with pytest.raises(TokenQuotaExceeded):
                call.amend(input_tokens=700, output_tokens=400)
            assert office.amounts == [(0, 900)]
        assert office.rows[0].input_tokens == 700

    def test_says_what_was_decided(self, office: Office) -> None:
        with office.admit(tokens=100) as call:
            decision = call.decision
            call.release()
        assert (decision.name, decision.budget, decision.held, decision.limit) == (
            "allowed",
            PER_USER,
            100,
            1000,
        )

    def test_bad_numbers_settle_nothing(self, office: Office) -> None:
        with office.admit(tokens=100) as call:
            with pytest.raises(ValueError, match="output_tokens must be an integer ≥ 0, not -1"):
                call.settle(input_tokens=5, output_tokens=-1)
            call.settle(input_tokens=5)
        assert office.amounts == [(5, 0)]

    def test_cannot_be_settled_before_it_is_admitted(self, office: Office) -> None:
        with pytest.raises(RuntimeError, match="with admit"):
            office.admit(tokens=5).settle(input_tokens=1)


class TestARefusal:
    def test_comes_where_the_block_begins_and_has_a_row(self, office: Office) -> None:
        with pytest.raises(TokenQuotaExceeded) as refusal, office.admit(tokens=1001):
            pytest.fail("was let in")
        assert (refusal.value.requested, refusal.value.retry_after_s) == (1001, None)
        (row,) = office.rows
        assert (row.decision, row.source, row.calls, row.total_tokens) == ("refused", "admit", 1, 0)

    def test_what_is_stated_is_not_cut(self, office: Office) -> None:
        with office.admit(tokens=950) as call:
            call.settle(input_tokens=950)
        with pytest.raises(TokenQuotaExceeded), office.admit(tokens=51):
            pytest.fail("was let in")
        with office.admit(tokens=50):
            pass

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ({"tokens": -1}, "tokens=-1: expected an integer ≥ 0"),
            ({"tokens": "5"}, "tokens='5': expected an integer ≥ 0"),
            ({"tokens": True}, "tokens=True: expected an integer ≥ 0"),
            ({"input_tokens": 5}, "admit: give tokens, or input_tokens and output_tokens"),
            ({"tokens": 5, "input_tokens": 5, "output_tokens": 5}, "admit: give tokens, or"),
            ({"wait_s": -1}, "wait_s=-1: expected seconds ≥ 0"),
            ({"wait_s": float("nan")}, "wait_s=nan: expected seconds ≥ 0"),
        ],
    )
    def test_bad_arguments_are_quoted(
        self, office: Office, arguments: dict[str, Any], problem: str
    ) -> None:
        with pytest.raises(atm.ConfigurationError) as failure:
            office.admit(**arguments)
        assert str(failure.value).startswith(problem)

    def test_without_init_there_is_nobody_to_ask(self) -> None:
        for ask in (atm.admit, atm.advice):
            with pytest.raises(atm.ConfigurationError, match="init"):
                ask()


class TestWaiting:
    def test_goes_on_when_another_call_ends(self, office: Office) -> None:
        first = office.admit(tokens=900)
        first.__enter__()
        asked, ended = threading.Event(), threading.Event()
        join = office.processor._gate.waiters.join

        def joined(tell: Any) -> bool:
            asked.set()
            return join(tell)

        office.processor._gate.waiters.join = joined  # type: ignore[method-assign]

        def work() -> None:
            with atm.context(user="ann"), office.admit(tokens=500, wait_s=60) as call:
                call.settle(input_tokens=500)
            ended.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert asked.wait(60)
        assert not ended.is_set()
        first.settle(input_tokens=400)
        thread.join(60)
        assert (ended.is_set(), office.amounts) == (True, [(900, 0)])
        assert [row.decision for row in office.rows] == ["allowed", "allowed"]

    def test_tasks_wait_without_blocking_the_loop(self, office: Office) -> None:
        async def call(tokens: int) -> None:
            async with office.admit(tokens=tokens, wait_s=60) as admitted:
                await asyncio.sleep(0)
                admitted.settle(input_tokens=100)

        async def program() -> None:
            await asyncio.gather(*[call(600) for _ in range(5)])

        asyncio.run(program())
        assert (office.amounts, len(office.rows)) == ([(500, 0)], 5)

    def test_ends_when_the_time_is_up(self, office: Office) -> None:
        with office.admit(tokens=900), pytest.raises(TokenQuotaExceeded):
            office.admit(tokens=500, wait_s=0.01).__enter__()
        assert [row.decision for row in office.rows] == ["refused", "allowed"]
        assert not office.processor._gate.waiters.waiting

    def test_does_not_wait_for_what_will_never_fit(self, clock: ManualClock) -> None:
        office = Office(clock, "1000 tokens / lifetime")
        with pytest.raises(TokenQuotaExceeded):
            office.admit(tokens=1001, wait_s=3_600).__enter__()

    def test_a_cancelled_task_leaves_nothing_behind(self, office: Office) -> None:
        async def program() -> None:
            with office.admit(tokens=900) as first:
                waiting = asyncio.create_task(office.admit(tokens=500, wait_s=60).__aenter__())
                await asyncio.sleep(0.01)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                first.settle(input_tokens=1)

        asyncio.run(program())
        assert (office.amounts, len(office.rows)) == ([(1, 0)], 1)
        assert not office.processor._gate.waiters.waiting


def test_settings_quote_what_is_no_function(clock: ManualClock) -> None:
    with pytest.raises(atm.ConfigurationError, match="on_alert='slack': expected a function"):
        Settings.of((), "memory", None, 10, on_alert="slack")  # type: ignore[arg-type]


def test_a_call_is_admitted_once(office: Office) -> None:
    call = office.admit(tokens=5)
    with call, pytest.raises(RuntimeError, match="once"), call:
        pytest.fail("was admitted again")
    assert office.amounts == [(5, 0)]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"tokens": 5, "model": 5}, "model=5: expected a text"),
        ({"tokens": 5, "provider": b"x"}, "provider=b'x': expected a text"),
        ({"tokens": 5, "operation": None}, "operation=None: expected a text"),
        ({"tokens": 1 << 63}, "tokens=9223372036854775808: expected"),
    ],
)
def test_what_is_no_text_is_quoted(office: Office, arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(atm.ConfigurationError) as failure:
        office.admit(**arguments)
    assert str(failure.value).startswith(problem)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), "20k", 0, True, 1e30])
def test_a_grant_is_a_number(office: Office, amount: Any) -> None:
    with pytest.raises(atm.ConfigurationError, match="amount="):
        office.processor.grant(PER_USER, amount, user="ann")


def test_a_clock_tells_nanoseconds() -> None:
    with pytest.raises(atm.ConfigurationError, match="expected nanoseconds"):
        TokenSpanProcessor(clock=lambda: 1.5)  # type: ignore[arg-type, return-value]
