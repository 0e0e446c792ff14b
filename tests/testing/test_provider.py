from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from otel_atm.testing import Asked, Faults, ProviderServer, Reported, Tokens

HELLO: Any = [{"role": "user", "content": "hello"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
RESPONSES_TOOL: Any = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}
MESSAGES_TOOL: Any = {"name": "weather", "input_schema": CITY}
TEXT = "the small river runs"


class Place(BaseModel):
    name: str
    rank: int
    tags: list[str]
    parent: Place | None


@pytest.fixture(scope="module")
def running() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture
def server(running: ProviderServer) -> ProviderServer:
    running.reset()
    return running


@pytest.fixture(scope="module")
def openai_client(running: ProviderServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=running.openai_url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def anthropic_client(running: ProviderServer) -> Iterator[anthropic.Anthropic]:
    url = running.anthropic_url
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def oai(server: ProviderServer, openai_client: openai.OpenAI) -> openai.OpenAI:
    return openai_client


@pytest.fixture
def claude(server: ProviderServer, anthropic_client: anthropic.Anthropic) -> anthropic.Anthropic:
    return anthropic_client


def post(server: ProviderServer, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    status, raw = ask(server, "POST", path, body, **headers)
    return status, json.loads(raw)


def ask(
    server: ProviderServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, raw, names)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def line(path: str, model: str, **changes: Any) -> Reported:
    fields: dict[str, Any] = {
        "path": path,
        "model": model,
        "stream": False,
        "status": 200,
        "input_tokens": 11,
        "output_tokens": 7,
        "cache_read_tokens": 4,
        "cache_write_tokens": 0,
        "reasoning_tokens": 3,
        "told": True,
    }
    return Reported(**fields | changes)


NOTHING = dict.fromkeys(
    ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"), 0
) | {"reasoning_tokens": 0, "told": False}
CLAUDE = {"cache_write_tokens": 2, "reasoning_tokens": 0}


class TestChatCompletions:
    def test_plain(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        answer = oai.chat.completions.create(model="gpt-5", messages=HELLO)
        assert answer.choices[0].message.content == TEXT
        assert answer.choices[0].finish_reason == "stop"
        usage = answer.usage
        assert usage
        assert usage.prompt_tokens_details
        assert usage.completion_tokens_details
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (11, 7, 18)
        assert usage.prompt_tokens_details.cached_tokens == 4
        assert usage.completion_tokens_details.reasoning_tokens == 3
        assert server.reported == [line("/v1/chat/completions", "gpt-5")]

    def test_a_stream_tells_no_usage_unless_asked(
        self, server: ProviderServer, oai: openai.OpenAI
    ) -> None:
        chunks = list(oai.chat.completions.create(model="m", messages=HELLO, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == TEXT
        assert sum(bool(c.choices[0].delta.content) for c in chunks) == 4
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert all(chunk.usage is None for chunk in chunks)
        assert server.reported == [line("/v1/chat/completions", "m", stream=True, told=False)]

    def test_a_stream_ends_with_a_usage_chunk_when_asked(
        self, server: ProviderServer, oai: openai.OpenAI
    ) -> None:
        *rest, last = oai.chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        assert last.choices == []
        assert last.usage
        assert last.usage.total_tokens == 18
        assert all(chunk.usage is None for chunk in rest)
        assert server.reported == [line("/v1/chat/completions", "m", stream=True)]

    def test_the_wire_ends_with_done(self, server: ProviderServer) -> None:
        body = {"model": "m", "messages": HELLO, "stream": True}
        status, raw = ask(server, "POST", "/v1/chat/completions", body)
        assert status == 200
        assert raw.startswith(b'data: {"id":"chatcmpl-')
        assert raw.endswith(b"\n\ndata: [DONE]\n\n")

    def test_tool_rounds(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        messages: list[Any] = list(HELLO)
        with server.faulty(tool_rounds=2):
            for _ in range(2):
                answer = oai.chat.completions.create(
                    model="m", messages=messages, tools=[CHAT_TOOL]
                )
                assert answer.choices[0].finish_reason == "tool_calls"
                message = answer.choices[0].message
                assert message.tool_calls
                call: Any = message.tool_calls[0]
                assert call.function.name == "weather"
                assert json.loads(call.function.arguments) == {"city": "river"}
                messages += [
                    message.model_dump(exclude_none=True),
                    {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
                ]
            answer = oai.chat.completions.create(model="m", messages=messages, tools=[CHAT_TOOL])
        assert answer.choices[0].message.content == TEXT

    def test_streamed_tool_call(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        with (
            server.faulty(tool_rounds=1),
            oai.chat.completions.stream(model="m", messages=HELLO, tools=[CHAT_TOOL]) as stream,
        ):
            choice = stream.get_final_completion().choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls
        assert choice.message.tool_calls[0].function.arguments == '{"city":"river"}'

    def test_without_tools_there_are_no_tool_calls(
        self, server: ProviderServer, oai: openai.OpenAI
    ) -> None:
        with server.faulty(tool_rounds=1):
            answer = oai.chat.completions.create(model="m", messages=HELLO)
        assert answer.choices[0].finish_reason == "stop"

    def test_parse(self, oai: openai.OpenAI) -> None:
        answer = oai.chat.completions.parse(model="m", messages=HELLO, response_format=Place)
        assert answer.choices[0].message.parsed == Place(name="river", rank=1, tags=[], parent=None)

    def test_async(self, server: ProviderServer) -> None:
        async def both() -> tuple[Any, Any]:
            async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="k") as client:
                whole = await client.chat.completions.create(model="m", messages=HELLO)
                stream = await client.chat.completions.create(
                    model="m", messages=HELLO, stream=True
                )
                return whole.usage, [chunk async for chunk in stream]

        usage, chunks = asyncio.run(both())
        assert usage.total_tokens == 18
        assert len(chunks) == 6

    def test_ids_differ(self, oai: openai.OpenAI) -> None:
        ids = {oai.chat.completions.create(model="m", messages=HELLO).id for _ in range(3)}
        assert len(ids) == 3


class TestResponses:
    def test_plain(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        answer = oai.responses.create(model="m", input="hello", instructions="be brief")
        assert answer.output_text == TEXT
        assert answer.status == "completed"
        assert answer.instructions == "be brief"
        assert answer.usage
        assert answer.usage.input_tokens_details.cached_tokens == 4
        assert answer.usage.output_tokens_details.reasoning_tokens == 3
        assert answer.usage.total_tokens == 18
        assert server.reported == [line("/v1/responses", "m")]

    def test_stream(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        events = list(oai.responses.create(model="m", input="hello", stream=True))
        assert [event.type for event in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * 4,
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert [event.sequence_number for event in events] == list(range(12))
        last: Any = events[-1]
        assert last.response.usage.total_tokens == 18
        assert last.response.output_text == TEXT
        assert server.reported == [line("/v1/responses", "m", stream=True)]

    def test_tool_rounds(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        said: list[Any] = list(HELLO)
        with server.faulty(tool_rounds=1):
            call: Any = oai.responses.create(model="m", input=said, tools=[RESPONSES_TOOL])
            call = call.output[0]
            assert (call.type, call.name, call.arguments) == (
                "function_call",
                "weather",
                '{"city":"river"}',
            )
            said += [call.model_dump(exclude_none=True), output_of(call)]
            answer = oai.responses.create(model="m", input=said, tools=[RESPONSES_TOOL])
        assert answer.output_text == TEXT

    def test_tool_rounds_through_the_previous_response(
        self, server: ProviderServer, oai: openai.OpenAI
    ) -> None:
        kinds = []
        with server.faulty(tool_rounds=2):
            answer = oai.responses.create(model="m", input="hello", tools=[RESPONSES_TOOL])
            while answer.output[0].type == "function_call":
                kinds.append(answer.output[0].type)
                answer = oai.responses.create(
                    model="m",
                    input=[output_of(answer.output[0])],
                    previous_response_id=answer.id,
                    tools=[RESPONSES_TOOL],
                )
        assert len(kinds) == 2

    def test_streamed_tool_call(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        with (
            server.faulty(tool_rounds=1),
            oai.responses.stream(model="m", input="hello", tools=[RESPONSES_TOOL]) as stream,
        ):
            item: Any = stream.get_final_response().output[0]
        assert item.arguments == '{"city":"river"}'

    def test_parse(self, oai: openai.OpenAI) -> None:
        answer = oai.responses.parse(model="m", input="hello", text_format=Place)
        assert answer.output_parsed
        assert answer.output_parsed.name == "river"


def output_of(call: Any) -> Any:
    return {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}


class TestEmbeddings:
    def test_the_client_asks_for_base64(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        answer = oai.embeddings.create(model="m", input=["one", "two"])
        assert [row.index for row in answer.data] == [0, 1]
        assert answer.data[0].embedding[:2] == [1.0, 0.5]
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (11, 11)
        only_input = NOTHING | {"input_tokens": 11, "told": True}
        assert server.reported == [line("/v1/embeddings", "m", **only_input)]

    @pytest.mark.parametrize("format_", ["float", "base64"])
    def test_formats_agree(self, oai: openai.OpenAI, format_: Any) -> None:
        answer = oai.embeddings.create(
            model="m", input="one", dimensions=3, encoding_format=format_
        )
        vector: Any = answer.data[0].embedding
        if isinstance(vector, str):
            vector = struct.unpack("<3f", base64.b64decode(vector))
        assert list(vector) == pytest.approx([1, 1 / 2, 1 / 3])

    @pytest.mark.parametrize(("inputs", "count"), [([1, 2, 3], 1), ([[1], [2]], 2), ("a", 1)])
    def test_token_lists(self, oai: openai.OpenAI, inputs: Any, count: int) -> None:
        assert len(oai.embeddings.create(model="m", input=inputs).data) == count

    def test_models(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        assert "gpt-5" in [model.id for model in oai.models.list()]
        assert server.requests == 0


class TestMessages:
    def test_plain(self, server: ProviderServer, claude: anthropic.Anthropic) -> None:
        answer = claude.messages.create(model="claude", max_tokens=9, messages=HELLO)
        block: Any = answer.content[0]
        assert len(block.text.split()) == 7
        assert answer.stop_reason == "end_turn"
        assert answer.usage.input_tokens == 11 - 4 - 2
        assert answer.usage.cache_read_input_tokens == 4
        assert answer.usage.cache_creation_input_tokens == 2
        assert answer.usage.output_tokens == 7
        assert server.reported == [line("/v1/messages", "claude", **CLAUDE)]

    def test_stream(self, server: ProviderServer, claude: anthropic.Anthropic) -> None:
        events: list[Any] = list(
            claude.messages.create(model="claude", max_tokens=9, messages=HELLO, stream=True)
        )
        assert [event.type for event in events if event.type != "ping"] == [
            "message_start",
            "content_block_start",
            *["content_block_delta"] * 4,
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        start, delta = events[0].message.usage, events[-2].usage
        assert (start.input_tokens, start.output_tokens) == (5, 1)
        assert (start.cache_read_input_tokens, start.cache_creation_input_tokens) == (4, 2)
        assert delta.output_tokens == 7
        assert server.reported == [line("/v1/messages", "claude", stream=True, **CLAUDE)]

    def test_stream_helper(self, claude: anthropic.Anthropic) -> None:
        with claude.messages.stream(model="claude", max_tokens=9, messages=HELLO) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert len(text.split()) == 7
        assert message.usage.output_tokens == 7
        assert message.usage.input_tokens == 5

    @pytest.mark.parametrize("stream", [False, True])
    def test_tool_rounds(
        self, server: ProviderServer, claude: anthropic.Anthropic, stream: bool
    ) -> None:
        said: list[Any] = list(HELLO)
        for _ in range(2):
            with server.faulty(tool_rounds=2):
                message = talk(claude, said, stream)
            block: Any = message.content[0]
            assert message.stop_reason == "tool_use"
            assert (block.name, block.input) == ("weather", {"city": "river"})
            result = {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
            said += [
                {"role": "assistant", "content": [block.model_dump(exclude_none=True)]},
                {"role": "user", "content": [result]},
            ]
        with server.faulty(tool_rounds=2):
            assert talk(claude, said, stream).stop_reason == "end_turn"

    def test_parse(self, claude: anthropic.Anthropic) -> None:
        answer = claude.messages.parse(
            model="claude", max_tokens=9, messages=HELLO, output_format=Flat
        )
        assert answer.parsed_output == Flat(name="river", rank=1)

    def test_thinking_is_told_when_there_is_some(self) -> None:
        with (
            ProviderServer(usage=Tokens(input=3, output=5, reasoning=2)) as server,
            anthropic.Anthropic(base_url=server.anthropic_url, api_key="k") as client,
        ):
            answer = client.messages.create(model="claude", max_tokens=9, messages=HELLO)
            *_, delta, _stop = client.messages.create(
                model="claude", max_tokens=9, messages=HELLO, stream=True
            )
        for usage in (answer.usage, delta.usage):  # type: ignore[union-attr]
            assert usage.output_tokens == 5
            assert usage.output_tokens_details
            assert usage.output_tokens_details.thinking_tokens == 2

    def test_async(self, server: ProviderServer) -> None:
        async def both() -> tuple[int, int]:
            async with anthropic.AsyncAnthropic(
                base_url=server.anthropic_url, api_key="k"
            ) as client:
                whole = await client.messages.create(model="claude", max_tokens=9, messages=HELLO)
                async with client.messages.stream(
                    model="claude", max_tokens=9, messages=HELLO
                ) as stream:
                    message = await stream.get_final_message()
                return whole.usage.output_tokens, message.usage.output_tokens

        assert asyncio.run(both()) == (7, 7)


class Flat(BaseModel):
    name: str
    rank: int


def talk(claude: anthropic.Anthropic, said: Any, stream: bool) -> Any:
    asked: Any = {"model": "c", "max_tokens": 9, "messages": said, "tools": [MESSAGES_TOOL]}
    if not stream:
        return claude.messages.create(**asked)
    with claude.messages.stream(**asked) as events:
        return events.get_final_message()


CALLS = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/responses": {"input": "hello"},
    "/v1/embeddings": {"input": "hello"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 9},
}
STREAMS = [path for path in CALLS if path != "/v1/embeddings"]


class TestErrors:
    @pytest.mark.parametrize("path", CALLS)
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
    def test_status(self, server: ProviderServer, path: str, status: int) -> None:
        with server.faulty(status=status, error_text="a secret"):
            answered, body = post(server, path, {"model": "m", **CALLS[path]})
        assert answered == status
        assert body["error"]["message"] == "a secret"
        assert server.reported == [line(path, "m", status=status, **NOTHING)]

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, openai.BadRequestError),
            (401, openai.AuthenticationError),
            (429, openai.RateLimitError),
            (500, openai.InternalServerError),
        ],
    )
    def test_openai_raises(
        self, server: ProviderServer, oai: openai.OpenAI, status: int, error: Any
    ) -> None:
        with server.faulty(status=status), pytest.raises(error):
            oai.chat.completions.create(model="m", messages=HELLO)

    @pytest.mark.parametrize(
        ("status", "error", "kind"),
        [
            (400, anthropic.BadRequestError, "invalid_request_error"),
            (401, anthropic.AuthenticationError, "authentication_error"),
            (429, anthropic.RateLimitError, "rate_limit_error"),
            (500, anthropic.InternalServerError, "api_error"),
            (529, anthropic.InternalServerError, "overloaded_error"),
        ],
    )
    def test_anthropic_raises(
        self,
        server: ProviderServer,
        claude: anthropic.Anthropic,
        status: int,
        error: Any,
        kind: str,
    ) -> None:
        with server.faulty(status=status), pytest.raises(error) as caught:
            claude.messages.create(model="claude", max_tokens=9, messages=HELLO, stream=True)
        assert caught.value.body["error"]["type"] == kind
        (reported,) = server.reported
        assert (reported.stream, reported.status) == (True, status)

    def test_openai_error_body(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        with server.faulty(status=429), pytest.raises(openai.RateLimitError) as caught:
            oai.chat.completions.create(model="m", messages=HELLO)
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.type == "requests"
        assert caught.value.response.headers["retry-after"] == "1"

    def test_a_sequence_of_statuses_is_retried_to_its_end(self, server: ProviderServer) -> None:
        with (
            openai.OpenAI(base_url=server.openai_url, api_key="k", max_retries=2) as client,
            server.faulty(status=[503, 429, 200], retry_after_s=0.01),
        ):
            answer = client.chat.completions.create(model="m", messages=HELLO)
            client.chat.completions.create(model="m", messages=HELLO)
        assert answer.choices[0].message.content == TEXT
        assert [line.status for line in server.reported] == [503, 429, 200, 200]
        assert server.total_told() == Tokens(22, 14, cache_read=8, reasoning=6)

    def test_a_nested_change_leaves_the_sequence_where_it_was(self, server: ProviderServer) -> None:
        asked = {"model": "m", "input": "hello"}
        with server.faulty(status=[500, 400]):
            assert post(server, "/v1/responses", asked)[0] == 500
            with server.faulty(status=None):
                assert post(server, "/v1/responses", asked)[0] == 200
            assert post(server, "/v1/responses", asked)[0] == 400
        assert server.faults == Faults()

    @pytest.mark.parametrize("path", CALLS)
    @pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"text"', b"\xff\xfe"])
    def test_broken_json(self, server: ProviderServer, path: str, raw: bytes) -> None:
        status, body = post(server, path, raw)
        assert status == 400
        assert body["error"]["type"] == "invalid_request_error"
        assert "JSON" in body["error"]["message"]
        assert server.reported == [line(path, "", status=400, **NOTHING)]

    @pytest.mark.parametrize("path", CALLS)
    def test_no_model(self, server: ProviderServer, path: str) -> None:
        for model in ({}, {"model": ""}, {"model": 3}):
            status, body = post(server, path, CALLS[path] | model)
            assert status == 400
            assert "model" in body["error"]["message"]

    @pytest.mark.parametrize("path", CALLS)
    def test_missing_fields(self, server: ProviderServer, path: str) -> None:
        for name in CALLS[path]:
            asked = {"model": "m", **CALLS[path]}
            del asked[name]
            status, body = post(server, path, asked)
            assert status == 400
            assert name in body["error"]["message"]

    @pytest.mark.parametrize("junk", [3, "x", None, [3], {"function": 3}])
    @pytest.mark.parametrize("path", CALLS)
    def test_junk_is_no_crash(self, server: ProviderServer, path: str, junk: Any) -> None:
        names = ("tools", "stream_options", "response_format", "text", "output_config", "system")
        junk_fields = dict.fromkeys((*names, "previous_response_id"), junk)
        with server.faulty(tool_rounds=1):
            status, _ = post(server, path, {"model": "m", **CALLS[path], **junk_fields})
        assert status == 200

    def test_unknown_path(self, server: ProviderServer) -> None:
        status, body = post(server, "/v1/nothing", {})
        assert (status, body["error"]["message"]) == (404, "Invalid URL (POST /v1/nothing)")
        status, body = post(server, "/v1/nothing", {}, anthropic_version="2023-06-01")
        assert (status, body["error"]["type"]) == (404, "not_found_error")
        assert server.requests == 0

    @pytest.mark.parametrize("path", CALLS)
    def test_wrong_method(self, server: ProviderServer, path: str) -> None:
        status, raw = ask(server, "GET", path)
        assert status == 405
        assert json.loads(raw)["error"]["type"] == "invalid_request_error"
        assert server.requests == 0


class TestFaults:
    @pytest.mark.parametrize("path", CALLS)
    @pytest.mark.parametrize("stream", [False, True])
    def test_no_usage(self, server: ProviderServer, path: str, stream: bool) -> None:
        asked = {
            "model": "m",
            "stream": stream,
            "stream_options": {"include_usage": True},
            **CALLS[path],
        }
        with server.faulty(no_usage=True):
            status, raw = ask(server, "POST", path, asked)
        assert status == 200
        assert b"_tokens" not in raw.replace(b"max_output_tokens", b"")
        (reported,) = server.reported
        assert not reported.told
        assert reported.input_tokens == 11
        assert server.total_told() == Tokens()

    def test_clients_bear_no_usage(
        self, server: ProviderServer, oai: openai.OpenAI, claude: anthropic.Anthropic
    ) -> None:
        with server.faulty(no_usage=True):
            assert oai.chat.completions.create(model="m", messages=HELLO).usage is None
            assert oai.responses.create(model="m", input="hello").usage is None
            asked: Any = {"model": "m", "max_tokens": 9, "messages": HELLO}
            assert claude.messages.create(**asked).usage is None
            assert len(list(claude.messages.create(**asked, stream=True))) == 9

    @pytest.mark.parametrize("path", STREAMS)
    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_a_dropped_stream_is_not_told(
        self, server: ProviderServer, path: str, after: int
    ) -> None:
        asked = {"model": "m", "stream": True, **CALLS[path]}
        with (
            server.faulty(drop_stream_after=after),
            pytest.raises(http.client.IncompleteRead) as caught,
        ):
            ask(server, "POST", path, asked)
        assert caught.value.partial.count(b"data: ") == after
        (reported,) = server.reported
        assert (reported.told, reported.status, reported.output_tokens) == (False, 200, 7)

    def test_a_stream_dropped_after_its_usage_is_told(self, server: ProviderServer) -> None:
        asked = {"model": "m", "stream": True, "input": "hello"}
        with server.faulty(drop_stream_after=12), pytest.raises(http.client.IncompleteRead):
            ask(server, "POST", "/v1/responses", asked)
        assert [line.told for line in server.reported] == [True]

    def test_openai_raises_in_mid_stream(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        seen: list[Any] = []
        with server.faulty(drop_stream_after=3):
            stream = oai.chat.completions.create(model="m", messages=HELLO, stream=True)
            with pytest.raises(openai.APIConnectionError) as caught:
                seen.extend(stream)
        assert "incomplete chunked read" in str(caught.value.__cause__)
        assert [line.told for line in server.reported] == [False]

    def test_anthropic_raises_in_mid_stream(
        self, server: ProviderServer, claude: anthropic.Anthropic
    ) -> None:
        with server.faulty(drop_stream_after=3):
            stream = claude.messages.create(model="c", max_tokens=9, messages=HELLO, stream=True)
            with pytest.raises(Exception, match="incomplete chunked read"):
                list(stream)
        assert [line.told for line in server.reported] == [False]

    @pytest.mark.parametrize("path", CALLS)
    @pytest.mark.parametrize("stream", [False, True])
    def test_malformed(self, server: ProviderServer, path: str, stream: bool) -> None:
        with server.faulty(malformed=True):
            status, raw = ask(server, "POST", path, {"model": "m", "stream": stream, **CALLS[path]})
        assert status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(raw.rpartition(b"data: ")[2])
        assert [line.told for line in server.reported] == [False]

    def test_clients_refuse_malformed(
        self, server: ProviderServer, oai: openai.OpenAI, claude: anthropic.Anthropic
    ) -> None:
        with server.faulty(malformed=True):
            with pytest.raises((openai.APIError, ValueError)):
                oai.chat.completions.create(model="m", messages=HELLO)
            with pytest.raises((openai.APIError, ValueError)):
                list(oai.chat.completions.create(model="m", messages=HELLO, stream=True))
            with pytest.raises((anthropic.APIError, ValueError)):
                claude.messages.create(model="c", max_tokens=9, messages=HELLO)

    def test_delay(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        begun = time.monotonic()
        with server.faulty(delay_s=0.05):
            oai.chat.completions.create(model="m", messages=HELLO)
        assert time.monotonic() - begun >= 0.05

    def test_chunk_delay(self, server: ProviderServer, oai: openai.OpenAI) -> None:
        begun = time.monotonic()
        with server.faulty(chunk_delay_s=0.01):
            list(oai.chat.completions.create(model="m", messages=HELLO, stream=True))
        assert time.monotonic() - begun >= 0.07

    def test_a_client_that_gives_up_is_not_told(
        self, server: ProviderServer, oai: openai.OpenAI
    ) -> None:
        with server.faulty(delay_s=60), pytest.raises(openai.APITimeoutError):
            oai.chat.completions.create(model="m", messages=HELLO, timeout=0.05)
        server.wait_reported(1)
        assert server.reported == [line("/v1/chat/completions", "m", told=False)]

    def test_a_client_that_leaves_a_stream_is_not_told(
        self, server: ProviderServer, oai: openai.OpenAI
    ) -> None:
        server.faults = Faults(chunk_delay_s=0.02)
        stream = oai.responses.create(model="m", input="hello", stream=True)
        next(iter(stream))
        stream.close()
        server.wait_reported(1)
        assert server.reported == [line("/v1/responses", "m", stream=True, told=False)]


class TestServer:
    def test_usage_may_depend_on_the_request(self) -> None:
        seen: list[Asked] = []

        def usage(asked: Asked) -> Tokens:
            seen.append(asked)
            return Tokens(input=asked.characters, output=asked.max_output_tokens or 1)

        with ProviderServer(usage=usage) as server:
            prompt = [{"role": "system", "content": "be brief"}, *HELLO]
            asked = {"model": "m", "messages": prompt, "max_completion_tokens": 5}
            _, body = post(server, "/v1/chat/completions", asked)
            post(server, "/v1/responses", {"model": "n", "input": "hello", "stream": False})
        assert body["usage"]["prompt_tokens"] == len("be briefhello")
        assert seen == [
            Asked("/v1/chat/completions", "m", stream=False, characters=13, max_output_tokens=5),
            Asked("/v1/responses", "n", stream=False, characters=5, max_output_tokens=None),
        ]

    def test_openai_tells_cache_writes_when_there_are_some(self) -> None:
        tokens = Tokens(9, 2, cache_read=3, cache_write=4, reasoning=1)
        with ProviderServer(usage=tokens) as server:
            _, chat = post(server, "/v1/chat/completions", {"model": "m", "messages": HELLO})
            _, response = post(server, "/v1/responses", {"model": "m", "input": "hello"})
            assert [line.tokens for line in server.reported] == [tokens, tokens]
        assert chat["usage"]["prompt_tokens_details"]["cache_write_tokens"] == 4
        assert response["usage"]["input_tokens_details"]["cache_write_tokens"] == 4

    def test_a_usage_function_that_raises(self) -> None:
        def usage(asked: Asked) -> Tokens:
            raise LookupError(asked.model)

        with ProviderServer(usage=usage) as server:
            asked = {"model": "m", "input": "hello"}
            assert ask(server, "POST", "/v1/responses", asked)[0] == 500
            assert server.reported == [line("/v1/responses", "m", status=500, **NOTHING)]

    @pytest.mark.parametrize(
        "counts",
        [{"input": -1}, {"input": 3, "cache_read": 2, "cache_write": 2}, {"reasoning": 1}],
    )
    def test_contradictory_tokens(self, counts: Any) -> None:
        with pytest.raises(ValueError, match=r"tokens|counts"):
            Tokens(**counts)

    def test_reset(self, server: ProviderServer) -> None:
        server.faults = Faults(status=500)
        post(server, "/v1/responses", {"model": "m", "input": "hello"})
        server.reset()
        assert (server.requests, server.reported, server.faults) == (0, [], Faults())

    def test_a_request_from_before_a_reset_leaves_no_line(
        self, server: ProviderServer, oai: openai.OpenAI
    ) -> None:
        server.faults = Faults(chunk_delay_s=0.01)
        stream = oai.responses.create(model="m", input="hello", stream=True)
        server.reset()
        assert len(list(stream)) == 12
        assert server.reported == []

    def test_waiting_gives_up(self, server: ProviderServer) -> None:
        with pytest.raises(TimeoutError, match="0 requests, 0 reported"):
            server.wait_requests(1, timeout_s=0.01)

    def test_many_threads(self, server: ProviderServer) -> None:
        def work() -> None:
            for _ in range(10):
                post(server, "/v1/responses", {"model": "m", "input": "hello"})

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.requests == len(server.reported) == 80
        assert server.total_told().input == 80 * 11

    def test_no_prompt_is_kept(self, server: ProviderServer) -> None:
        post(server, "/v1/responses", {"model": "m", "input": "a secret"})
        assert "a secret" not in repr(vars(server)) + repr(server.reported)

    def test_stops_at_once_while_a_request_waits_and_a_stream_is_open(self) -> None:
        failures: list[Exception] = []

        def wait_in_vain(server: ProviderServer) -> None:
            try:
                post(server, "/v1/responses", {"model": "m", "input": "hello"})
            except (OSError, http.client.HTTPException) as failure:
                failures.append(failure)

        with ProviderServer() as server:
            server.faults = Faults(chunk_delay_s=60)
            stream = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
            body = b'{"model": "m", "input": "hello", "stream": true}'
            head = b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
            stream.sendall(head % len(body) + body)
            server.wait_requests(1)
            server.faults = Faults(delay_s=60)
            waiting = threading.Thread(target=wait_in_vain, args=(server,))
            waiting.start()
            server.wait_requests(2)
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
        waiting.join(5)
        stream.close()
        assert len(failures) == 1
        assert [line.told for line in server.reported] == [False, False]

    def test_it_is_no_longer_there_afterwards(self) -> None:
        with ProviderServer() as server:
            port = int(server.url.rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with pytest.raises(RuntimeError, match="with"):
            _ = server.url

    def test_it_can_be_entered_again_on_its_port(self) -> None:
        with ProviderServer() as first:
            port = int(first.url.rpartition(":")[2])
        server = ProviderServer(port=port)
        for _ in range(2):
            with server:
                assert server.url == f"http://127.0.0.1:{port}"
                assert post(server, "/v1/embeddings", {"model": "m", "input": "x"})[0] == 200
        assert server.requests == 2

    def test_a_taken_port(self, server: ProviderServer) -> None:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), ProviderServer(port=port):
            pass

    def test_it_is_quiet(
        self, server: ProviderServer, capfd: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with server.faulty(drop_stream_after=1), pytest.raises(http.client.IncompleteRead):
            ask(server, "POST", "/v1/responses", {"model": "m", "input": "x", "stream": True})
        assert capfd.readouterr() == ("", "")
        assert caplog.records == []

    def test_on_its_own(self) -> None:
        command = [sys.executable, "-u", "-m", "otel_atm.testing.provider", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            url = process.stdout.readline().split()[1]
            process.stdout.readline()
            with openai.OpenAI(base_url=url, api_key="k") as client:
                assert client.responses.create(model="m", input="hello").output_text == TEXT
            process.terminate()

    def test_the_package_is_light(self) -> None:
        code = (
            "import sys, otel_atm.testing; assert not {'starlette', 'uvicorn'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_unknown_names_are_refused(self) -> None:
        import otel_atm.testing

        with pytest.raises(AttributeError, match="nothing"):
            _ = otel_atm.testing.nothing
