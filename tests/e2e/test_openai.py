"""The openai client under opentelemetry-instrumentation-genai-openai: what the file says of it."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from pydantic import BaseModel, ValidationError, field_validator

import otel_atm as atm
from otel_atm.pricing import Prices, usd
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import (
    UNKNOWN,
    AppError,
    Program,
    assert_each_is_estimated,
    assert_each_is_free,
    assert_equals_the_report,
    cancelled_once_it_is_sent,
    fail_in_the_midst_of,
    run,
    tokens,
    told,
)

MODEL = "gpt-5.1"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
RESPONSES_TOOL = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


class Place(BaseModel):
    name: str
    rank: int


class Picky(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def never(cls, name: str) -> str:
        raise ValueError("no name is good enough")


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def chat(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=user(text), **more)


def respond(client: Any, text: str, **more: Any) -> Any:
    return client.responses.create(model=MODEL, input=text, **more)


#: Calls with a whole answer; given an async client, each returns an awaitable.
PLAIN: dict[str, Callable[[Any, str], Any]] = {
    "chat": chat,
    "chat with a raw response": lambda client, text: (
        client.chat.completions.with_raw_response.create(model=MODEL, messages=user(text))
    ),
    "chat that parses": lambda client, text: client.chat.completions.parse(
        model=MODEL, messages=user(text), response_format=Place
    ),
    "responses": respond,
    "responses that parse": lambda client, text: client.responses.parse(
        model=MODEL, input=text, text_format=Place
    ),
    "embeddings": lambda client, text: client.embeddings.create(model=MODEL, input=text),
}
#: Calls with an answer in events, which tell the usage.
STREAMS: dict[str, Callable[[Any, str], Any]] = {
    "chat": lambda client, text: chat(client, text, **WITH_USAGE),
    "responses": lambda client, text: respond(client, text, stream=True),
}
#: The same through the client's own context managers.
MANAGERS: dict[str, Callable[[Any, str], Any]] = {
    "chat": lambda client, text: client.chat.completions.stream(
        model=MODEL, messages=user(text), stream_options={"include_usage": True}
    ),
    "responses": lambda client, text: client.responses.stream(model=MODEL, input=text),
}

plain = pytest.mark.parametrize("call", PLAIN.values(), ids=PLAIN)
streams = pytest.mark.parametrize("call", STREAMS.values(), ids=STREAMS)
managers = pytest.mark.parametrize("call", MANAGERS.values(), ids=MANAGERS)

Call = Callable[[Any, str], Any]


class TestTokens:
    @plain
    def test_a_call_is_one_row_that_says_what_the_provider_told(
        self, program: Program, server: ProviderServer, oai: Any, call: Call
    ) -> None:
        call(oai, "one")
        call(oai, "another one")
        assert_equals_the_report(program, server)

    @plain
    def test_an_async_call_too(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any], call: Call
    ) -> None:
        async def main() -> None:
            async with async_oai() as client:
                await call(client, "one")
                await call(client, "another one")

        run(main())
        assert_equals_the_report(program, server)

    @streams
    def test_a_stream_is_one_row_that_says_what_its_last_event_told(
        self, program: Program, server: ProviderServer, oai: Any, call: Call
    ) -> None:
        for _ in call(oai, "one"):
            pass
        with call(oai, "another one") as stream:
            for _ in stream:
                pass
        rows = assert_equals_the_report(program, server)
        assert all(row["ttft_us"] > 0 for row in rows)

    @streams
    def test_an_async_stream_too(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any], call: Call
    ) -> None:
        async def main() -> None:
            async with async_oai() as client:
                async for _ in await call(client, "one"):
                    pass
                async with await call(client, "another one") as stream:
                    async for _ in stream:
                        pass

        run(main())
        assert_equals_the_report(program, server)

    @managers
    def test_a_stream_manager_is_one_row(
        self, program: Program, server: ProviderServer, oai: Any, call: Call
    ) -> None:
        with call(oai, "one") as stream:
            for _ in stream:
                pass
        assert_equals_the_report(program, server)

    @managers
    def test_an_async_stream_manager_is_one_row(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any], call: Call
    ) -> None:
        async def main() -> None:
            async with async_oai() as client, call(client, "one") as stream:
                async for _ in stream:
                    pass

        run(main())
        assert_equals_the_report(program, server)

    def test_a_raw_stream_is_one_row(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        raw = oai.chat.completions.with_raw_response.create(
            model=MODEL, messages=user("one"), **WITH_USAGE
        )
        for _ in raw.parse():
            pass
        assert_equals_the_report(program, server)

    def test_a_chat_stream_without_include_usage_is_estimated_and_marked(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        for _ in chat(oai, "one", stream=True):
            pass
        assert [line.told for line in server.reported] == [False]
        assert_each_is_estimated(program, 1, "ok")

    def test_an_async_chat_stream_without_include_usage_is_estimated_and_marked(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with async_oai() as client:
                async for _ in await chat(client, "one", stream=True):
                    pass

        run(main())
        assert [line.told for line in server.reported] == [False]
        assert_each_is_estimated(program, 1, "ok")

    def test_estimates_and_reports_stand_side_by_side(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        list(chat(oai, "one", stream=True))
        chat(oai, "two two")
        rows = program.rows()
        assert [row["estimated"] for row in rows] == [True, False]
        assert [tokens(row) for row in rows] == [UNKNOWN, told(server.reported[1])]
        assert program.charged() == (1000 + told(server.reported[1])[-1], 0)

    def test_each_round_of_a_tool_loop_is_a_row(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        messages = user("weather in Paris?")
        with server.faulty(tool_rounds=2):
            while True:
                answer = oai.chat.completions.create(
                    model=MODEL, messages=messages, tools=[CHAT_TOOL]
                )
                message = answer.choices[0].message
                messages.append(message.model_dump(exclude_none=True))
                if not message.tool_calls:
                    break
                for asked in message.tool_calls:
                    json.loads(asked.function.arguments)
                    messages.append({"role": "tool", "tool_call_id": asked.id, "content": "sunny"})
        assert len(assert_equals_the_report(program, server)) == 3

    def test_each_round_of_a_streamed_tool_loop_is_a_row(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            messages = user("weather in Paris?")
            async with async_oai() as client:
                for _ in range(3):
                    stream = await client.chat.completions.create(
                        model=MODEL, messages=messages, tools=[CHAT_TOOL], **WITH_USAGE
                    )
                    async for _ in stream:
                        pass
                    messages.append({"role": "tool", "tool_call_id": "c", "content": "sunny"})

        with server.faulty(tool_rounds=2):
            run(main())
        assert len(assert_equals_the_report(program, server)) == 3

    def test_each_round_of_a_responses_tool_loop_is_a_row(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        with server.faulty(tool_rounds=2):
            answer = respond(oai, "weather in Paris?", tools=[RESPONSES_TOOL])
            while answer.output[0].type == "function_call":
                output = {
                    "type": "function_call_output",
                    "call_id": answer.output[0].call_id,
                    "output": "sunny",
                }
                answer = oai.responses.create(
                    model=MODEL,
                    input=[output],
                    tools=[RESPONSES_TOOL],
                    previous_response_id=answer.id,
                )
        assert len(assert_equals_the_report(program, server)) == 3

    def test_calls_of_many_threads_are_each_a_row(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        calls = list(PLAIN.values())
        with server.faulty(delay_s=0.02), ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: calls[n % len(calls)](oai, "x" * n), range(1, 49)))
        assert len(assert_equals_the_report(program, server, ordered=False)) == 48

    def test_calls_of_many_tasks_are_each_a_row(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any]
    ) -> None:
        async def stream(client: Any, number: int) -> None:
            async for _ in await STREAMS["chat"](client, "x" * number):
                pass

        async def main() -> None:
            calls = list(PLAIN.values())
            async with async_oai() as client:
                whole = (calls[n % len(calls)](client, "x" * n) for n in range(1, 33))
                parts = (stream(client, n) for n in range(33, 49))
                await asyncio.gather(*whole, *parts)

        with server.faulty(chunk_delay_s=0.005):
            run(main())
        assert len(assert_equals_the_report(program, server, ordered=False)) == 48

    def test_streams_read_in_turns_keep_their_own_tokens(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        pair = [STREAMS["chat"](oai, "one"), STREAMS["chat"](oai, "another one")]
        for _ in zip(*pair, strict=True):
            pass
        assert_equals_the_report(program, server, ordered=False)

    def test_a_call_inside_of_an_open_stream_is_a_row_of_its_own(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        for number, _ in enumerate(STREAMS["responses"](oai, "one")):
            if number == 2:
                chat(oai, "another one")
        assert_equals_the_report(program, server, ordered=False)

    def test_the_clients_retries_are_one_call(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        with server.faulty(status=[500, 429], retry_after_s=0.01):
            chat(oai.with_options(max_retries=2), "one")
        assert server.requests == 3
        assert tokens(program.row()) == told(server.reported[2])
        assert program.row()["status"] == "ok"


class TestColumns:
    def test_a_row_says_who_called_what_and_where_its_span_is(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        payer = {"user": "ann", "session": "s1", "app": "bot", "team": "ml", "env": "prod"}
        with atm.context(**payer, department="finance", tags=["b", "a"]):
            chat(oai, "one")
        (span,) = program.spans
        row = program.row()
        assert span.context is not None
        assert span.attributes is not None
        assert {key: row[key] for key in ("app", "team", "env")} == {
            "app": "bot",
            "team": "ml",
            "env": "prod",
        }
        assert (row["user_id"], row["session_id"]) == ("ann", "s1")
        assert (row["provider"], row["model"], row["operation"]) == ("openai", MODEL, "chat")
        assert (row["decision"], row["budget"], row["calls"]) == ("allowed", None, 1)
        assert (row["source"], row["tags"]) == ("span", ["a", "b"])
        assert row["attributes"] == {"department": "finance"}
        assert row["event_id"] == span.attributes["atm.call_id"]
        assert row["trace_id"] == f"{span.context.trace_id:032x}"
        assert row["span_id"] == f"{span.context.span_id:016x}"
        assert row["duration_us"] > 0
        price = Prices().find("openai", MODEL, program.clock())
        assert price is not None
        given, made, read, written, reasoning, _ = tokens(row)
        cost = price.cost((given, made, read, written, reasoning), program.clock())
        assert (row["cost_usd"], row["price_version"]) == (usd(cost), price.version)

    def test_the_span_says_who_pays_and_what_was_decided(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        with atm.context(user="ann", team="ml"):
            chat(oai, "one")
        (span,) = program.spans
        ours = {k: v for k, v in (span.attributes or {}).items() if k.startswith("atm.")}
        ours.pop("atm.call_id")
        assert ours == {"atm.user": "ann", "atm.team": "ml", "atm.decision": "allowed"}


@pytest.mark.parametrize("status", [400, 401, 429, 500])
class TestHttpErrors:
    def test_a_failed_call_costs_nothing(
        self, program: Program, server: ProviderServer, oai: Any, status: int
    ) -> None:
        calls = [*PLAIN.values(), *STREAMS.values()]
        with server.faulty(status=status):
            for call in calls:
                with pytest.raises(openai.APIStatusError):
                    call(oai, "one")
            for call in MANAGERS.values():
                with pytest.raises(openai.APIStatusError), call(oai, "one"):
                    pass
        rows = assert_each_is_free(program, server.requests)
        assert len(rows) == len(calls) + len(MANAGERS)
        assert {row["attributes"]["error.type"].partition(".")[0] for row in rows} == {"openai"}

    def test_a_failed_async_call_costs_nothing(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any], status: int
    ) -> None:
        calls = [*PLAIN.values(), *STREAMS.values()]

        async def main() -> None:
            async with async_oai() as client:
                for call in calls:
                    with pytest.raises(openai.APIStatusError):
                        await call(client, "one")

        with server.faulty(status=status):
            run(main())
        assert_each_is_free(program, len(calls))


class TestNoConnection:
    def test_a_call_that_reaches_nobody_costs_nothing(
        self, program: Program, server: ProviderServer, oai: Any, closed_url: str
    ) -> None:
        calls = [*PLAIN.values(), *STREAMS.values()]
        for call in calls:
            with pytest.raises(openai.APIConnectionError):
                call(oai.with_options(base_url=closed_url), "one")
        assert server.requests == 0
        assert_each_is_free(program, len(calls))

    def test_an_async_call_that_reaches_nobody_costs_nothing(
        self, program: Program, async_oai: Callable[..., Any], closed_url: str
    ) -> None:
        calls = [*PLAIN.values(), *STREAMS.values()]

        async def main() -> None:
            async with async_oai(base_url=closed_url) as client:
                for call in calls:
                    with pytest.raises(openai.APIConnectionError):
                        await call(client, "one")

        run(main())
        assert_each_is_free(program, len(calls))


class TestEndingsThatTellNothing:
    """The provider may have worked: our estimate is charged, and marked."""

    def test_a_time_out(self, program: Program, server: ProviderServer, oai: Any) -> None:
        calls = [*PLAIN.values(), *STREAMS.values()]
        with server.faulty(delay_s=30):
            for call in calls:
                with pytest.raises(openai.APITimeoutError):
                    call(oai.with_options(timeout=0.05), "one")
        assert_each_is_estimated(program, len(calls), "error")

    def test_a_time_out_in_the_midst_of_a_stream(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        with server.faulty(chunk_delay_s=0.3):
            for call in STREAMS.values():
                with pytest.raises(openai.APITimeoutError):
                    for _ in call(oai.with_options(timeout=0.1), "one"):
                        pass
        assert_each_is_estimated(program, len(STREAMS), "error")

    def test_a_cancelled_task(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with async_oai() as client:
                for call in PLAIN.values():
                    await cancelled_once_it_is_sent(call(client, "one"), server)

        with server.faulty(delay_s=30):
            run(main())
        assert_each_is_estimated(program, len(PLAIN), "cancelled")

    def test_a_task_cancelled_while_it_waits_for_the_next_event(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any]
    ) -> None:
        begun = asyncio.Event()

        async def read(stream: Any) -> None:
            async for _ in stream:
                begun.set()

        async def main() -> None:
            async with async_oai() as client:
                for call in STREAMS.values():
                    begun.clear()
                    task = asyncio.create_task(read(await call(client, "one")))
                    await begun.wait()
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task

        with server.faulty(chunk_delay_s=0.1):
            run(main())
        assert_each_is_estimated(program, len(STREAMS), "cancelled")

    @pytest.mark.parametrize("events", [1, 3])
    def test_a_stream_that_breaks_off(
        self, program: Program, server: ProviderServer, oai: Any, events: int
    ) -> None:
        with server.faulty(drop_stream_after=events):
            for call in STREAMS.values():
                with pytest.raises(openai.APIConnectionError):
                    for _ in call(oai, "one"):
                        pass
        assert_each_is_estimated(program, len(STREAMS), "error")

    def test_a_stream_that_breaks_off_right_after_its_headers(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        with server.faulty(drop_stream_after=0):
            for call in STREAMS.values():
                with pytest.raises(openai.APIConnectionError):
                    for _ in call(oai, "one"):
                        pass
        assert [line.status for line in server.reported] == [200] * len(STREAMS)
        assert_each_is_estimated(program, len(STREAMS), "error")

    def test_an_async_stream_that_breaks_off(
        self, program: Program, server: ProviderServer, async_oai: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with async_oai() as client:
                for call in STREAMS.values():
                    with pytest.raises(openai.APIConnectionError):
                        async for _ in await call(client, "one"):
                            pass

        with server.faulty(drop_stream_after=2):
            run(main())
        assert_each_is_estimated(program, len(STREAMS), "error")

    def test_a_stream_that_the_application_closes_early(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        for call in STREAMS.values():
            stream = call(oai, "one")
            next(stream)
            stream.close()
            call(oai, "one").close()
        assert_each_is_estimated(program, 2 * len(STREAMS), "ok")

    def test_a_stream_that_the_application_drops(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        for call in STREAMS.values():
            for _ in call(oai, "one"):
                break
            gc.collect()
        assert_each_is_estimated(program, len(STREAMS), "error")

    def test_a_stream_in_whose_midst_the_application_fails(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        for call in STREAMS.values():
            with pytest.raises(AppError):
                fail_in_the_midst_of(call(oai, "one"))
        rows = assert_each_is_estimated(program, len(STREAMS), "error")
        assert {row["attributes"]["error.type"].rpartition(".")[2] for row in rows} == {"AppError"}

    def test_a_malformed_answer(self, program: Program, server: ProviderServer, oai: Any) -> None:
        with server.faulty(malformed=True):
            for call in PLAIN.values():
                with pytest.raises(json.JSONDecodeError):
                    call(oai, "one")
            for call in STREAMS.values():
                with pytest.raises(json.JSONDecodeError):
                    list(call(oai, "one"))
        assert_each_is_estimated(program, len(PLAIN) + len(STREAMS), "error")

    def test_an_answer_without_usage(
        self, program: Program, server: ProviderServer, oai: Any
    ) -> None:
        with server.faulty(no_usage=True):
            for call in PLAIN.values():
                call(oai, "one")
            for call in STREAMS.values():
                list(call(oai, "one"))
        assert_each_is_estimated(program, len(PLAIN) + len(STREAMS), "ok")


def test_an_answer_that_its_type_refuses_was_spent_all_the_same(
    program: Program, server: ProviderServer, oai: Any
) -> None:
    with pytest.raises(ValidationError):
        oai.chat.completions.parse(model=MODEL, messages=user("one"), response_format=Picky)
    assert [line.told for line in server.reported] == [True]
    assert_each_is_estimated(program, 1, "error")  # this instrumentation forgets the usage then
