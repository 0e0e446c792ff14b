"""The anthropic client under opentelemetry-instrumentation-genai-anthropic, and by itself.

The client makes spans of its own, below those of the instrumentation: two tell of each call, and
each call is one row.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx2
import pytest
from pydantic import BaseModel

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import (
    UNKNOWN,
    AppError,
    Program,
    Row,
    assert_each_is_estimated,
    assert_each_is_free,
    assert_equals_the_report,
    cancelled_once_it_is_sent,
    fail_in_the_midst_of,
    run,
    tokens,
    told,
)

MODEL = "claude-opus-4-8"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "weather", "input_schema": CITY}
NATIVE = "com.anthropic.sdk.python"


class Place(BaseModel):
    name: str
    rank: int


def asking(text: str) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": text}]}


Call = Callable[[Any, str], Any]

#: Calls with a whole answer; given an async client, each returns an awaitable.
PLAIN: dict[str, Call] = {
    "create": lambda client, text: client.messages.create(**asking(text)),
    "create with a raw response": lambda client, text: client.messages.with_raw_response.create(
        **asking(text)
    ),
    "parse": lambda client, text: client.messages.parse(**asking(text), output_format=Place),
    "beta": lambda client, text: client.beta.messages.create(**asking(text)),
}


def stream_of(client: Any, text: str) -> Any:
    return client.messages.create(**asking(text), stream=True)


def manager_of(client: Any, text: str) -> Any:
    return client.messages.stream(**asking(text))


#: What a row says of a call of which nothing is known but `max_tokens`.
AT_MOST = (500, 99, 0, 0, 0, 599)

plain = pytest.mark.parametrize("call", PLAIN.values(), ids=PLAIN)
CUT_SHORT = (httpx2.RemoteProtocolError, anthropic.APIConnectionError)


def assert_each_says_what_came(
    program: Program, server: ProviderServer, number: int, status: str
) -> list[Row]:
    """Rows of streams that ended early: the input was told, the output is not known."""
    rows = program.rows()
    assert [row["status"] for row in rows] == [status] * number
    assert [row["input_tokens"] for row in rows] == [line.input_tokens for line in server.reported]
    assert [row["estimated"] for row in rows] == [True] * number
    assert program.charged() == (sum(row["total_tokens"] for row in rows), 0)
    return rows


class TestTokens:
    @plain
    def test_a_call_is_one_row_that_says_what_the_provider_told(
        self, program: Program, server: ProviderServer, claude: Any, call: Call
    ) -> None:
        call(claude, "one")
        call(claude, "another one")
        assert_equals_the_report(program, server)
        assert [span.name for span in program.spans].count(f"chat {MODEL}") == 2
        assert len(program.spans) == 4

    @plain
    def test_an_async_call_too(
        self, program: Program, server: ProviderServer, async_claude: Callable[..., Any], call: Call
    ) -> None:
        async def main() -> None:
            async with async_claude() as client:
                await call(client, "one")
                await call(client, "another one")

        run(main())
        assert_equals_the_report(program, server)

    def test_a_stream_is_one_row_that_says_what_its_events_told(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        for _ in stream_of(claude, "one"):
            pass
        with stream_of(claude, "another one") as stream:
            for _ in stream:
                pass
        rows = assert_equals_the_report(program, server)
        assert all(row["ttft_us"] > 0 for row in rows)

    def test_an_async_stream_too(
        self, program: Program, server: ProviderServer, async_claude: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with async_claude() as client:
                async for _ in await stream_of(client, "one"):
                    pass

        run(main())
        assert_equals_the_report(program, server)

    def test_a_stream_manager_is_one_row_however_it_is_read(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        with manager_of(claude, "one") as stream:
            for _ in stream:
                pass
        with manager_of(claude, "another one") as stream:
            stream.get_final_message()
        with manager_of(claude, "three") as stream:
            for _ in stream.text_stream:
                pass
        assert_equals_the_report(program, server)

    def test_an_async_stream_manager_is_one_row(
        self, program: Program, server: ProviderServer, async_claude: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with async_claude() as client, manager_of(client, "one") as stream:
                async for _ in stream:
                    pass

        run(main())
        assert_equals_the_report(program, server)

    def test_each_round_of_a_tool_loop_is_a_row(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        messages: list[Any] = [{"role": "user", "content": "weather in Paris?"}]
        with server.faulty(tool_rounds=2):
            while True:
                answer = claude.messages.create(
                    model=MODEL, max_tokens=99, messages=messages, tools=[TOOL]
                )
                messages.append({"role": "assistant", "content": answer.to_dict()["content"]})
                if answer.stop_reason != "tool_use":
                    break
                result = {"type": "tool_result", "content": "sunny"}
                asked = [block.id for block in answer.content if block.type == "tool_use"]
                content = [result | {"tool_use_id": each} for each in asked]
                messages.append({"role": "user", "content": content})
        assert len(assert_equals_the_report(program, server)) == 3

    def test_calls_of_many_threads_are_each_a_row(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        calls = [*PLAIN.values(), lambda client, text: list(stream_of(client, text))]
        with server.faulty(delay_s=0.02), ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: calls[n % len(calls)](claude, "x" * n), range(1, 41)))
        assert len(assert_equals_the_report(program, server, ordered=False)) == 40

    def test_calls_of_many_tasks_are_each_a_row(
        self, program: Program, server: ProviderServer, async_claude: Callable[..., Any]
    ) -> None:
        async def stream(client: Any, number: int) -> None:
            async for _ in await stream_of(client, "x" * number):
                pass

        async def main() -> None:
            calls = list(PLAIN.values())
            async with async_claude() as client:
                whole = (calls[n % len(calls)](client, "x" * n) for n in range(1, 25))
                parts = (stream(client, n) for n in range(25, 41))
                await asyncio.gather(*whole, *parts)

        with server.faulty(chunk_delay_s=0.005):
            run(main())
        assert len(assert_equals_the_report(program, server, ordered=False)) == 40

    def test_a_call_inside_of_an_open_stream_is_a_row_of_its_own(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        for number, _ in enumerate(stream_of(claude, "one")):
            if number == 2:
                PLAIN["create"](claude, "another one")
        assert_equals_the_report(program, server, ordered=False)

    def test_both_clients_under_both_instrumentations_keep_apart(
        self, program: Program, server: ProviderServer, claude: Any, oai: Any
    ) -> None:
        for number in range(1, 4):
            PLAIN["create"](claude, "x" * number)
            oai.responses.create(model="gpt-5.1", input="y" * 10 * number)
        rows = assert_equals_the_report(program, server)
        assert [row["provider"] for row in rows] == ["anthropic", "openai"] * 3

    def test_no_tokens_are_lost_after_an_odd_stream_makes_the_instrumentation_give_up(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        with server.faulty(no_usage=True):
            list(stream_of(claude, "one"))
        list(stream_of(claude, "another one"))
        odd, fine = program.rows()
        assert (odd["estimated"], tokens(odd)) == (True, UNKNOWN)
        assert (fine["estimated"], tokens(fine)) == (False, told(server.reported[1]))

    def test_the_clients_retries_are_one_call(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        with server.faulty(status=[500, 429], retry_after_s=0.01):
            PLAIN["create"](claude.with_options(max_retries=2), "one")
        assert server.requests == 3
        assert tokens(program.row()) == told(server.reported[2])


class TestColumns:
    def test_a_row_says_who_called_what_and_both_spans_bear_its_id(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        with atm.context(user="ann", session="s1", team="ml"):
            PLAIN["create"](claude, "one")
        row = program.row()
        assert (row["user_id"], row["session_id"], row["team"]) == ("ann", "s1", "ml")
        assert (row["provider"], row["model"], row["operation"]) == ("anthropic", MODEL, "chat")
        assert [(span.attributes or {})["atm.call_id"] for span in program.spans] == [
            row["event_id"]
        ] * 2
        outer = next(span for span in program.spans if span.name.startswith("chat"))
        assert outer.context is not None
        assert row["span_id"] == f"{outer.context.span_id:016x}"


@pytest.mark.parametrize("status", [400, 401, 429, 500])
class TestHttpErrors:
    def test_a_failed_call_costs_nothing(
        self, program: Program, server: ProviderServer, claude: Any, status: int
    ) -> None:
        calls = [*PLAIN.values(), stream_of]
        with server.faulty(status=status):
            for call in calls:
                with pytest.raises(anthropic.APIStatusError):
                    call(claude, "one")
            with pytest.raises(anthropic.APIStatusError), manager_of(claude, "one"):
                pass
        assert server.requests == len(calls) + 1
        assert_each_is_free(program, len(calls) + 1)

    def test_a_failed_async_call_costs_nothing(
        self,
        program: Program,
        server: ProviderServer,
        async_claude: Callable[..., Any],
        status: int,
    ) -> None:
        calls = [*PLAIN.values(), stream_of]

        async def main() -> None:
            async with async_claude() as client:
                for call in calls:
                    with pytest.raises(anthropic.APIStatusError):
                        await call(client, "one")

        with server.faulty(status=status):
            run(main())
        assert_each_is_free(program, len(calls))

    def test_a_failed_call_of_the_client_by_itself_costs_nothing(
        self, program: Program, server: ProviderServer, native_claude: Any, status: int
    ) -> None:
        calls = [*PLAIN.values(), stream_of]
        with server.faulty(status=status):
            for call in calls:
                with pytest.raises(anthropic.APIStatusError):
                    call(native_claude, "one")
        assert_each_is_free(program, len(calls))


class TestNoConnection:
    def test_a_call_that_reaches_nobody_costs_nothing(
        self, program: Program, server: ProviderServer, claude: Any, closed_url: str
    ) -> None:
        calls = [*PLAIN.values(), stream_of]
        for call in calls:
            with pytest.raises(anthropic.APIConnectionError):
                call(claude.with_options(base_url=closed_url), "one")
        assert server.requests == 0
        assert_each_is_free(program, len(calls))

    def test_an_async_call_that_reaches_nobody_costs_nothing(
        self, program: Program, async_claude: Callable[..., Any], closed_url: str
    ) -> None:
        calls = [*PLAIN.values(), stream_of]

        async def main() -> None:
            async with async_claude(base_url=closed_url) as client:
                for call in calls:
                    with pytest.raises(anthropic.APIConnectionError):
                        await call(client, "one")

        run(main())
        assert_each_is_free(program, len(calls))

    def test_a_call_of_the_client_by_itself_that_reaches_nobody_costs_nothing(
        self, program: Program, native_claude: Any, closed_url: str
    ) -> None:
        with pytest.raises(anthropic.APIConnectionError):
            PLAIN["create"](native_claude.with_options(base_url=closed_url), "one")
        assert_each_is_free(program, 1)


class TestEndingsThatTellNothing:
    """The provider may have worked: our estimate is charged, and marked."""

    def test_a_time_out(self, program: Program, server: ProviderServer, claude: Any) -> None:
        calls = [*PLAIN.values(), stream_of]
        with server.faulty(delay_s=30):
            for call in calls:
                with pytest.raises(anthropic.APITimeoutError):
                    call(claude.with_options(timeout=0.05), "one")
        assert_each_is_estimated(program, len(calls), "error")

    def test_a_cancelled_task(
        self, program: Program, server: ProviderServer, async_claude: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with async_claude() as client:
                for call in PLAIN.values():
                    await cancelled_once_it_is_sent(call(client, "one"), server)

        with server.faulty(delay_s=30):
            run(main())
        assert_each_is_estimated(program, len(PLAIN), "cancelled")

    def test_a_malformed_answer(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        calls = [PLAIN["create"], PLAIN["parse"], PLAIN["beta"]]
        with server.faulty(malformed=True):
            for call in calls:
                with pytest.raises(json.JSONDecodeError):
                    call(claude, "one")
            with pytest.raises(json.JSONDecodeError):
                list(stream_of(claude, "one"))
        assert_each_is_estimated(program, len(calls) + 1, "error")

    def test_an_answer_without_usage(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        with server.faulty(no_usage=True):
            for call in PLAIN.values():
                call(claude, "one")
        assert_each_is_estimated(program, len(PLAIN), "ok")

    def test_a_stream_that_breaks_off_right_after_its_headers(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        with server.faulty(drop_stream_after=0), pytest.raises(CUT_SHORT):
            list(stream_of(claude, "one"))
        assert_each_is_estimated(program, 1, "error")

    def test_a_stream_that_is_closed_before_its_first_event(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        stream_of(claude, "one").close()
        assert_each_is_estimated(program, 1, "ok")


class TestStreamsThatEndEarly:
    """The first event tells the input; how much was written since then, nobody says."""

    @pytest.mark.parametrize("events", [1, 4])
    def test_a_stream_that_breaks_off(
        self, program: Program, server: ProviderServer, claude: Any, events: int
    ) -> None:
        with server.faulty(drop_stream_after=events):
            with pytest.raises(CUT_SHORT):
                list(stream_of(claude, "one"))
            with pytest.raises(CUT_SHORT), manager_of(claude, "another one") as stream:
                list(stream)
        assert_each_says_what_came(program, server, 2, "error")

    def test_an_async_stream_that_breaks_off(
        self, program: Program, server: ProviderServer, async_claude: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with async_claude() as client:
                with pytest.raises(CUT_SHORT):
                    async for _ in await stream_of(client, "one"):
                        pass

        with server.faulty(drop_stream_after=3):
            run(main())
        assert_each_says_what_came(program, server, 1, "error")

    def test_a_stream_that_the_application_closes_early(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        stream = stream_of(claude, "one")
        next(stream)
        stream.close()
        assert_each_says_what_came(program, server, 1, "ok")

    def test_a_stream_that_the_application_drops(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        for _ in stream_of(claude, "one"):
            break
        gc.collect()
        assert_each_says_what_came(program, server, 1, "error")

    def test_a_stream_in_whose_midst_the_application_fails(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        with pytest.raises(AppError):
            fail_in_the_midst_of(stream_of(claude, "one"))
        (row,) = assert_each_says_what_came(program, server, 1, "error")
        assert row["attributes"]["error.type"].endswith(".AppError")

    def test_a_stream_of_which_the_instrumentation_alone_tells_that_is_closed_early(
        self, program: Program, server: ProviderServer, claude: Any
    ) -> None:
        stream = stream_of(claude.with_options(open_telemetry=False), "one")
        next(stream)
        stream.close()
        assert_each_says_what_came(program, server, 1, "ok")
        assert len(program.spans) == 1

    def test_a_stream_of_the_client_by_itself_that_is_closed_early(
        self, program: Program, server: ProviderServer, native_claude: Any
    ) -> None:
        stream = stream_of(native_claude, "one")
        next(iter(stream))
        stream.close()
        assert_each_says_what_came(program, server, 1, "ok")


class TestTheClientByItself:
    @plain
    def test_a_call_is_one_row_that_says_what_the_provider_told(
        self, program: Program, server: ProviderServer, native_claude: Any, call: Call
    ) -> None:
        call(native_claude, "one")
        call(native_claude, "another one")
        assert_equals_the_report(program, server)
        scopes = [span.instrumentation_scope for span in program.spans]
        assert [scope.name for scope in scopes if scope] == [NATIVE] * 2

    def test_a_stream_is_one_row(
        self, program: Program, server: ProviderServer, native_claude: Any
    ) -> None:
        for _ in stream_of(native_claude, "one"):
            pass
        with manager_of(native_claude, "another one") as stream:
            for _ in stream:
                pass
        assert_equals_the_report(program, server)

    def test_async_calls_and_streams_are_each_a_row(
        self, program: Program, server: ProviderServer, native_async_claude: Callable[..., Any]
    ) -> None:
        async def main() -> None:
            async with native_async_claude() as client:
                await PLAIN["create"](client, "one")
                async for _ in await stream_of(client, "another one"):
                    pass

        run(main())
        assert_equals_the_report(program, server)

    def test_a_time_out_is_charged_by_estimate(
        self, program: Program, server: ProviderServer, native_claude: Any
    ) -> None:
        with server.faulty(delay_s=30), pytest.raises(anthropic.APITimeoutError):
            PLAIN["create"](native_claude.with_options(timeout=0.05), "one")
        assert_each_is_estimated(program, 1, "error", AT_MOST)

    def test_a_malformed_answer_is_charged_by_estimate(
        self, program: Program, server: ProviderServer, native_claude: Any
    ) -> None:
        with server.faulty(malformed=True), pytest.raises(json.JSONDecodeError):
            PLAIN["create"](native_claude, "one")
        assert_each_is_estimated(program, 1, "error", AT_MOST)
