"""What the guard tells of whole answers, whom it refuses, and what it survives."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from agent_framework import Agent, ChatContext, ChatResponse, chat_middleware, tool

import otel_atm as atm
from otel_atm.errors import ConfigurationError
from otel_atm.guards.agent_framework import (
    InMemoryQuotaStore,
    LedgerQuotaStore,
    QuotaExceededError,
    TokenGuardMiddleware,
    day_key,
    week_key,
)
from otel_atm.testing import ManualClock
from tests.guards.agent_framework.conftest import Guarded
from tests.guards.agent_framework.model import Model, elsewhere, usage
from tests.guards.agent_framework.stores import Plain

Make = Callable[..., Guarded]


async def ask(guard: Guarded, model: Model, text: str = "Hello!", **more: Any) -> str:
    return (await Agent(model).run(text, middleware=[guard.middleware], **more)).text


def run(guard: Guarded, model: Model, text: str = "Hello!", **more: Any) -> str:
    return asyncio.run(ask(guard, model, text, **more))


def test_a_call_has_the_record_of_the_page(guarded: Make) -> None:
    guard = guarded(50)
    assert run(guard, Model(usage(11, 52))) == "word word word word"
    assert guard.records == [
        {
            "user_id": "anonymous",
            "period_key": "2026-01",
            "model": "test-model-1",
            "input_tokens": 11,
            "output_tokens": 52,
            "total_tokens": 63,
            "quota_tokens": 50,
            "used_tokens_after_call": 63,
            "timestamp_utc": "2026-01-01T00:00:00+00:00",
            "streaming": False,
        }
    ]


def test_over_the_quota_nothing_is_sent_and_the_payload_is_that_of_the_page(guarded: Make) -> None:
    guard, model = guarded(50), Model(usage(11, 52))
    run(guard, model)
    with pytest.raises(QuotaExceededError):
        run(guard, model)
    assert model.asked == 1
    assert len(guard.records) == 1
    assert guard.payloads == [
        {
            "user_id": "anonymous",
            "period_key": "2026-01",
            "used_tokens": 63,
            "quota_tokens": 50,
            "reason": "quota_exceeded_before_call",
        }
    ]


def test_the_error_has_all_facts(guarded: Make, clock: ManualClock) -> None:
    clock.set(datetime(2026, 1, 31, 23, 59, 12, tzinfo=UTC))
    guard = guarded(50, user_id_getter=lambda context: "ann")
    run(guard, Model(usage(11, 52)))
    with pytest.raises(atm.TokenQuotaExceeded) as raised:
        run(guard, Model())
    error = pickle.loads(pickle.dumps(raised.value))
    assert isinstance(error, QuotaExceededError)
    assert isinstance(error, RuntimeError), "as the product's own"
    assert (error.user_id, error.period_key) == ("ann", "2026-01")
    assert (error.used, error.held, error.limit, error.requested) == (63, 0, 50, 1000)
    assert error.resets_at == datetime(2026, 2, 1, tzinfo=UTC)
    assert error.retry_after_s == 48
    assert str(error) == (
        "user='ann' asked for 1000 tokens, 0 of 50 left this month; resets in 48 s "
        "[budget: 50 tokens / month per user]"
    )


def test_a_period_of_ones_own_has_no_known_end(guarded: Make) -> None:
    guard = guarded(0, period_key_fn=lambda: "sprint-7")
    with pytest.raises(QuotaExceededError) as raised:
        run(guard, Model())
    assert (raised.value.resets_at, raised.value.retry_after_s) == (None, None)
    assert str(raised.value) == (
        "user='anonymous' asked for 1000 tokens, 0 of 0 left this period "
        "[budget: 0 tokens / period per user]"
    )


@pytest.mark.parametrize(
    ("period", "keys"),
    [(day_key, ["2026-01-01", "2026-01-02"]), (week_key, ["2026-W01", "2026-W01"])],
)
def test_a_period_lasts_as_long_as_its_key(
    guarded: Make, clock: ManualClock, period: Any, keys: list[str]
) -> None:
    guard = guarded(period_key_fn=period)
    run(guard, Model())
    clock.advance(86_400)
    run(guard, Model())
    assert [record["period_key"] for record in guard.records] == keys
    after = [record["used_tokens_after_call"] for record in guard.records]
    assert after == ([500, 500] if keys[0] != keys[1] else [500, 1000])


def test_users_have_a_quota_each(guarded: Make) -> None:
    @chat_middleware
    async def sign_in(context: ChatContext, call_next: Any) -> None:
        context.metadata["user_id"] = context.options["metadata"]["user"]
        await call_next()

    guard = guarded(500)

    async def main() -> None:
        agent = Agent(Model())
        for user in ("ann", "bob"):
            options: Any = {"metadata": {"user": user}}
            await agent.run("Hello!", middleware=[sign_in, guard.middleware], options=options)

    asyncio.run(main())
    assert [(record["user_id"], record["used_tokens_after_call"]) for record in guard.records] == [
        ("ann", 500),
        ("bob", 500),
    ]


def test_who_otel_atm_says_pays_is_the_user(guarded: Make) -> None:
    guard = guarded()
    with atm.context(user="cy"):
        run(guard, Model())
    assert guard.records[0]["user_id"] == "cy"


def test_callbacks_and_getters_may_be_async(guarded: Make) -> None:
    told: list[Any] = []

    async def hear(payload: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        told.append(payload["user_id"])

    async def who(context: ChatContext) -> str:
        await asyncio.sleep(0)
        return "ann"

    async def when() -> str:
        return "now"

    guard = guarded(
        500, on_usage=hear, on_quota_exceeded=hear, user_id_getter=who, period_key_fn=when
    )
    run(guard, Model())
    with pytest.raises(QuotaExceededError):
        run(guard, Model())
    assert told == ["ann", "ann"]
    assert guard.store.get_usage("ann", "now") == 500


def test_every_store_counts_what_was_reported(guarded: Make, any_store: Any) -> None:
    guard, model = guarded(1_000, store=any_store), Model()
    for _ in range(2):
        run(guard, model)
    with pytest.raises(QuotaExceededError):
        run(guard, model)
    assert [record["used_tokens_after_call"] for record in guard.records] == [500, 1000]
    assert guard.payloads[0]["used_tokens"] == 1000


def test_each_request_of_a_tool_loop_is_counted_and_may_be_refused(guarded: Make) -> None:
    from agent_framework import Content, Message

    @tool(approval_mode="never_require")
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    class Caller(Model):
        async def _answer(self) -> ChatResponse[Any]:
            answer = await super()._answer()
            call = Content.from_function_call(f"c{self.asked}", "weather", arguments={"city": "X"})
            answer.messages = [Message("assistant", [call])]
            return answer

    guard, model = guarded(1_200, default_hold=200), Caller()
    with pytest.raises(QuotaExceededError):
        run(guard, model, tools=[weather])
    assert model.asked == len(guard.records) == 3
    assert guard.charged == model.told == 1_500


def test_a_call_that_fails_costs_nothing(guarded: Make, any_store: Any) -> None:
    guard = guarded(1_000, store=any_store)
    for _ in range(3):
        with pytest.raises(ConnectionError, match="no route"):
            run(guard, Model(fails=ConnectionError("no route")))
    run(guard, Model())
    assert [record["used_tokens_after_call"] for record in guard.records] == [500]


def test_a_call_that_is_cancelled_is_charged_by_estimate(guarded: Make, any_store: Any) -> None:
    guard = guarded(store=any_store)

    async def main() -> None:
        task = asyncio.create_task(ask(guard, Model(wait=asyncio.Event().wait)))
        await elsewhere()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    record = guard.records[0]
    assert record["estimated"] is True
    assert record["output_tokens"] == 500, "half of default_hold"
    assert record["used_tokens_after_call"] == record["total_tokens"] > 500


def test_an_answer_without_usage_is_charged_by_its_text_and_marked(guarded: Make) -> None:
    guard = guarded()
    run(guard, Model(silent=True), "x" * 400)
    record = guard.records[0]
    assert record["estimated"] is True
    assert (record["input_tokens"], record["output_tokens"]) == (100, 5)


def test_an_on_usage_that_fails_does_not_cost_the_reply(
    guarded: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(record: dict[str, Any]) -> None:
        raise RuntimeError("about a secret")

    guard = guarded(on_usage=fail)
    guard.trouble = {"on_usage": 2}
    with caplog.at_level(logging.ERROR, "otel_atm"):
        assert [run(guard, Model()) for _ in range(2)] == ["word word word word"] * 2
    assert len(caplog.records) == 1, "it is said once"
    assert "secret" not in caplog.text
    assert guard.store.get_usage("anonymous", "2026-01") == 1_000


def test_an_on_quota_exceeded_that_fails_does_not_let_the_call_in(guarded: Make) -> None:
    async def fail(payload: dict[str, Any]) -> None:
        raise RuntimeError

    guard = guarded(0, on_quota_exceeded=fail)
    guard.trouble = {"on_quota_exceeded": 1}
    with pytest.raises(QuotaExceededError):
        run(guard, Model())


def test_getters_that_fail_leave_the_user_anonymous_and_the_period_a_month(guarded: Make) -> None:
    def fail(*of: Any) -> str:
        raise KeyError("user")

    guard = guarded(user_id_getter=fail, period_key_fn=fail)
    guard.trouble = {"user_id_getter": 1, "period_key_fn": 1}
    run(guard, Model())
    assert (guard.records[0]["user_id"], guard.records[0]["period_key"]) == ("anonymous", "2026-01")


def test_a_store_that_is_away_costs_no_reply_and_gets_its_tokens_later(guarded: Make) -> None:
    store = Plain()
    guard = guarded(store=store)
    store.broken = True
    assert run(guard, Model()) == "word word word word"
    store.broken = False
    run(guard, Model())
    assert store.totals == {("anonymous", "2026-01"): 1_000}
    assert [record["used_tokens_after_call"] for record in guard.records] == [500, 1_000]
    guard.trouble = {"quota_store": 3}  # asked, added to, asked again


def test_what_a_store_that_is_away_has_not_got_counts_all_the_same(guarded: Make) -> None:
    store = Plain()
    guard, model = guarded(1_000, store=store), Model()
    store.broken = True
    for _ in range(2):
        run(guard, model)
    with pytest.raises(QuotaExceededError):
        run(guard, model)
    guard.trouble = {"quota_store": 7}


def test_a_store_that_is_away_may_block_calls(guarded: Make) -> None:
    store = Plain()
    guard, model = guarded(store=store, on_store_error="block"), Model()
    guard.trouble = {"quota_store": 1}
    store.broken = True
    with pytest.raises(QuotaExceededError, match="the quota store cannot be asked") as raised:
        run(guard, model)
    assert "secrets" not in str(raised.value)
    assert guard.payloads[0]["reason"] == "quota_store_failed"
    assert model.asked == 0


class Away(InMemoryQuotaStore):
    """It can hold, but not today."""

    def reserve(self, *of: Any) -> Any:
        raise ConnectionError


def test_a_store_that_cannot_hold_counts_all_the_same(guarded: Make) -> None:
    guard = guarded(store=Away())
    run(guard, Model())
    assert guard.records[0]["used_tokens_after_call"] == 500
    guard.trouble = {"quota_store": 1}


def test_what_is_held_is_learned(guarded: Make) -> None:
    guard = guarded(1 << 30)
    for _ in range(16):
        run(guard, Model(usage(13, 70)), "x" * 40)

    async def main() -> tuple[int, int]:
        task = asyncio.create_task(ask(guard, Model(wait=asyncio.Event().wait), "x" * 40))
        await elsewhere()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return guard.records[-1]["input_tokens"], guard.records[-1]["output_tokens"]

    assert asyncio.run(main()) == (10, 70)
    guard.middleware.quota_tokens = 0
    with pytest.raises(QuotaExceededError) as raised:
        run(guard, Model(), "x" * 400)
    assert raised.value.requested == 100 + 3 + 70, "3 more than its text, as those before"


def test_max_tokens_is_the_most_output_that_is_held(guarded: Make) -> None:
    guard = guarded(0)
    options: Any = {"max_tokens": 30}
    with pytest.raises(QuotaExceededError) as raised:
        run(guard, Model(), options=options)
    assert raised.value.requested == 530


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quota_tokens": -1}, "quota_tokens=-1: expected a whole number ≥ 0 and < 2⁴⁰"),
        ({"quota_tokens": "lots"}, "quota_tokens='lots': expected a whole number"),
        ({"quota_tokens": 1.5}, "quota_tokens=1.5: expected a whole number"),
        ({"quota_tokens": True}, "quota_tokens=True: expected a whole number"),
        ({"quota_tokens": None}, "quota_tokens=None: expected a whole number"),
        ({"default_hold": 0}, "default_hold=0: expected a whole number ≥ 2"),
        ({"on_usage": None}, "on_usage=None: expected a function"),
        ({"on_quota_exceeded": 3}, "on_quota_exceeded=3: expected a function"),
        ({"period_key_fn": "month"}, "period_key_fn='month': expected a function"),
        ({"on_store_error": "ignore"}, "on_store_error='ignore': expected 'allow' or 'block'"),
        ({"quota_store": {}}, "quota_store={}: expected an object with get_usage"),
        ({"quota_store": Plain}, "expected an object with get_usage"),
    ],
)
def test_a_setting_that_cannot_be_used_is_quoted(settings: dict[str, Any], said: str) -> None:
    usual: dict[str, Any] = {"on_usage": print, "quota_store": Plain(), "quota_tokens": 5}
    with pytest.raises(ConfigurationError) as raised:
        TokenGuardMiddleware(**{**usual, **settings})
    assert said in str(raised.value)


def test_a_quota_may_be_text_from_the_environment(guarded: Make) -> None:
    assert guarded("1_000").middleware.quota_tokens == 1_000


def test_a_ledger_store_has_one_quota() -> None:
    store = LedgerQuotaStore(name="gold")
    TokenGuardMiddleware(on_usage=print, quota_store=store, quota_tokens=5)
    TokenGuardMiddleware(on_usage=print, quota_store=store, quota_tokens=5)
    with pytest.raises(ConfigurationError, match=r"quota_tokens=6: this store .* 5; .* 'gold'"):
        TokenGuardMiddleware(on_usage=print, quota_store=store, quota_tokens=6)
