"""Streams are charged as reported, and what came of them where they are not read to their end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from agent_framework import Agent, ChatResponse, Message, ResponseStream

from otel_atm.guards.agent_framework import QuotaExceededError, TokenGuardMiddleware
from tests.guards.agent_framework.conftest import Guarded
from tests.guards.agent_framework.model import Model, elsewhere, usage

Make = Callable[..., Guarded]

#: What a request "x" * 40 is reckoned to be, and a word of the model's: bytes by 4, rounded up.
ASKED, WORD = 10, 2


def stream(guard: Guarded, model: Model, **more: Any) -> ResponseStream[Any, Any]:
    return Agent(model).run("x" * 40, stream=True, middleware=[guard.middleware], **more)


async def read(guard: Guarded, model: Model) -> str:
    return "".join([update.text async for update in stream(guard, model)])


def test_a_stream_has_the_record_of_the_page(guarded: Make) -> None:
    guard = guarded()
    assert asyncio.run(read(guard, Model(usage(11, 52)))) == "word word word word "
    assert guard.records == [
        {
            "user_id": "anonymous",
            "period_key": "2026-01",
            "model": "test-model-1",
            "input_tokens": 11,
            "output_tokens": 52,
            "total_tokens": 63,
            "quota_tokens": 10_000,
            "used_tokens_after_call": 63,
            "timestamp_utc": "2026-01-01T00:00:00+00:00",
            "streaming": True,
        }
    ]


def test_a_stream_of_which_only_the_result_is_wanted_is_charged_once(
    guarded: Make, any_store: Any
) -> None:
    guard = guarded(store=any_store)

    async def main() -> None:
        answers = stream(guard, Model())
        assert (await answers.get_final_response()).text == "word word word word "
        assert (await answers.get_final_response()).text == "word word word word "

    asyncio.run(main())
    assert [record["used_tokens_after_call"] for record in guard.records] == [500]


def test_a_stream_over_the_quota_is_not_begun(guarded: Make) -> None:
    guard, model = guarded(0), Model()
    with pytest.raises(QuotaExceededError):
        asyncio.run(read(guard, model))
    assert model.asked == 0


async def closed_early(guard: Guarded, model: Model) -> None:
    async with stream(guard, model) as updates:
        async for _ in updates:
            break


async def closed_by_hand(guard: Guarded, model: Model) -> None:
    updates = stream(guard, model)
    await anext(updates)
    await updates.close()


async def dropped(guard: Guarded, model: Model) -> None:
    async for _ in stream(guard, model):
        break
    gc.collect()
    await elsewhere()


async def failed(guard: Guarded, model: Model) -> None:
    model._fails, model._fails_after = ConnectionError("lost"), 1
    with pytest.raises(ConnectionError):
        await read(guard, model)


async def cancelled(guard: Guarded, model: Model) -> None:
    words = iter(range(1))

    async def one_word() -> None:
        if next(words, None) is None:
            await asyncio.Event().wait()

    model._wait = one_word
    task = asyncio.create_task(read(guard, model))
    await elsewhere()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


ENDINGS = [closed_early, closed_by_hand, dropped, failed, cancelled]


@pytest.mark.parametrize("end", ENDINGS)
def test_a_dropped_stream_is_charged_what_was_received(
    guarded: Make, any_store: Any, end: Any
) -> None:
    guard = guarded(store=any_store)
    asyncio.run(end(guard, Model()))
    assert len(guard.records) == 1
    record = guard.records[0]
    assert (record["input_tokens"], record["output_tokens"]) == (ASKED, WORD)
    assert record["estimated"] is True
    assert record["model"] == "test-model-1"
    assert record["used_tokens_after_call"] == record["total_tokens"] == ASKED + WORD


@pytest.mark.parametrize("end", ENDINGS)
def test_what_a_dropped_stream_held_is_free_again(guarded: Make, any_store: Any, end: Any) -> None:
    guard = guarded(1_500, store=any_store)

    async def main() -> None:
        await end(guard, Model())
        waiting = asyncio.create_task(read(guard, Model(wait=asyncio.Event().wait)))
        await elsewhere()
        assert not waiting.done(), "there was room for it"
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())


def test_what_is_reported_at_the_start_is_charged_with_what_was_received(guarded: Make) -> None:
    guard = guarded()
    model = Model(early={"input_token_count": 25, "output_token_count": 1})

    async def main() -> None:
        updates = stream(guard, model)
        for _ in range(3):
            await anext(updates)
        await updates.close()

    asyncio.run(main())
    record = guard.records[0]
    assert (record["input_tokens"], record["output_tokens"]) == (25, 3)
    assert record["estimated"] is True


def test_a_stream_that_is_closed_after_its_last_update_is_charged_as_reported(
    guarded: Make,
) -> None:
    guard = guarded()

    async def main() -> None:
        updates = stream(guard, Model())
        for _ in range(5):
            await anext(updates)
        await updates.close()

    asyncio.run(main())
    assert guard.charged == 500
    assert "estimated" not in guard.records[0]


def test_a_stream_that_fails_before_it_says_anything_costs_nothing(guarded: Make) -> None:
    guard = guarded(1_000)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            asyncio.run(read(guard, Model(fails=ConnectionError("no route"))))
    assert guard.records == []
    asyncio.run(read(guard, Model()))
    assert guard.charged == 500


def test_a_stream_that_is_cancelled_before_it_says_anything_is_charged_by_estimate(
    guarded: Make,
) -> None:
    guard = guarded()

    async def main() -> None:
        task = asyncio.create_task(read(guard, Model(wait=asyncio.Event().wait)))
        await elsewhere()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert guard.records[0]["output_tokens"] == 500
    assert guard.records[0]["estimated"] is True


def test_a_stream_that_nobody_reads_costs_nothing(guarded: Make) -> None:
    guard, model = guarded(1_000), Model()

    async def main() -> None:
        for _ in range(2):  # closed, and dropped
            updates = model.get_response(
                [Message("user", ["Hello!"])],
                stream=True,
                client_kwargs={"middleware": [guard.middleware]},
            )
            await updates
            if not guard.records:
                await updates.close()
            del updates
            gc.collect()
            await elsewhere()

    asyncio.run(main())
    assert (model.asked, guard.records) == (0, [])
    asyncio.run(read(guard, model))
    assert guard.charged == 500


def test_a_stream_that_outlives_its_loop_is_charged_with_the_next_request(guarded: Make) -> None:
    guard = guarded()
    loop, updates = asyncio.new_event_loop(), stream(guard, Model())
    loop.run_until_complete(anext(updates))
    loop.close()
    del updates
    gc.collect()
    assert guard.records == []
    asyncio.run(guard.middleware.flush())
    assert guard.charged == ASKED + WORD


def test_a_stream_without_usage_is_charged_by_its_text(guarded: Make) -> None:
    guard = guarded()
    asyncio.run(read(guard, Model(silent=True)))
    assert (guard.charged, guard.records[0]["estimated"]) == (ASKED + 5, True)


class Odd(TokenGuardMiddleware):
    def _extract_streaming_usage(self, response: Any, captured: dict[str, Any]) -> dict[str, Any]:
        assert captured == usage(100, 400)
        assert isinstance(response, ChatResponse)
        return {"total_token_count": 7}


def test_a_subclass_may_say_what_a_stream_has_used(guarded: Make) -> None:
    guard = guarded(kind=Odd)
    asyncio.run(read(guard, Model()))
    assert guard.records[0]["total_tokens"] == 7
    assert guard.records[0]["input_tokens"] is None


class Broken(TokenGuardMiddleware):
    def _extract_streaming_usage(self, response: Any, captured: dict[str, Any]) -> dict[str, Any]:
        raise LookupError


def test_a_subclass_that_fails_costs_neither_the_reply_nor_the_count(guarded: Make) -> None:
    guard = guarded(kind=Broken)
    guard.trouble = {"extract_streaming_usage": 1}
    assert asyncio.run(read(guard, Model())) == "word word word word "
    assert guard.charged == 500


def test_an_answer_that_its_program_cannot_use_is_charged_as_reported(guarded: Make) -> None:
    from pydantic import BaseModel

    class Weather(BaseModel):
        city: str

    guard = guarded()

    async def main() -> None:
        answers = stream(guard, Model(), options={"response_format": Weather})
        with pytest.raises(Exception, match="word"):
            _ = (await answers.get_final_response()).value

    asyncio.run(main())
    assert guard.charged == 500
    assert "estimated" not in guard.records[0]
