"""The clients of Google, Cohere, Ollama, Mistral and Azure understand the provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import ollama
import openai
import pytest
from google import genai
from google.genai import errors
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from pydantic import BaseModel

from otel_atm.testing import Asked, ProviderServer, Tokens
from tests.testing.test_provider import CHAT_TOOL, HELLO, TEXT

WORDS = "the small river runs past old stone"


class Place(BaseModel):
    name: str
    rank: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(scope="module")
def running() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture
def server(running: ProviderServer) -> ProviderServer:
    running.reset()
    return running


@pytest.fixture(scope="module")
def one(running: ProviderServer) -> Iterator[genai.Client]:
    with genai.Client(api_key="k", http_options={"base_url": running.gemini_url}) as client:
        yield client


class TestGoogle:
    @pytest.fixture
    def client(self, server: ProviderServer, one: genai.Client) -> genai.Client:
        return one

    def test_plain(self, server: ProviderServer, client: genai.Client) -> None:
        answer = client.models.generate_content(
            model="gemini", contents="hello", config={"max_output_tokens": 9}
        )
        usage = answer.usage_metadata
        assert answer.text == TEXT
        assert usage
        assert (usage.prompt_token_count, usage.cached_content_token_count) == (11, 4)
        assert (usage.candidates_token_count, usage.thoughts_token_count) == (4, 3)
        assert usage.total_token_count == 18
        assert server.reported[0].path == "/v1/models/gemini:generateContent"

    def test_stream(self, client: genai.Client) -> None:
        chunks = list(client.models.generate_content_stream(model="g", contents="hello"))
        assert "".join(chunk.text or "" for chunk in chunks) == TEXT
        assert [c.usage_metadata.candidates_token_count for c in chunks if c.usage_metadata] == [
            1,
            2,
            3,
            4,
        ]

    def test_async(self, server: ProviderServer) -> None:
        async def main() -> list[str]:
            async with httpx.AsyncClient() as transport:
                options: Any = {
                    "base_url": server.gemini_url,
                    "httpx_async_client": transport,
                }
                with genai.Client(api_key="k", http_options=options) as client:
                    whole = await client.aio.models.generate_content(model="g", contents="hello")
                    stream = await client.aio.models.generate_content_stream(
                        model="g", contents="hello"
                    )
                    return [whole.text or "", "".join([c.text or "" async for c in stream])]

        assert asyncio.run(main()) == [TEXT, TEXT]

    @pytest.mark.parametrize("rounds", [0, 1, 3])
    def test_automatic_function_calling(
        self, server: ProviderServer, client: genai.Client, rounds: int
    ) -> None:
        with server.faulty(tool_rounds=rounds):
            answer = client.chats.create(model="g", config={"tools": [weather]}).send_message("hi")
        assert answer.text == TEXT
        assert server.requests == rounds + 1

    def test_schema(self, client: genai.Client) -> None:
        answer = client.models.generate_content(
            model="g",
            contents="hello",
            config={"response_mime_type": "application/json", "response_schema": Place},
        )
        assert answer.parsed == Place(name="river", rank=1)

    def test_embeddings(self, server: ProviderServer, client: genai.Client) -> None:
        answer = client.models.embed_content(
            model="e", contents=["one", "two"], config={"output_dimensionality": 3}
        )
        assert answer.embeddings
        assert [len(each.values or ()) for each in answer.embeddings] == [3, 3]
        assert server.reported[0].tokens == Tokens(11)

    def test_vertex(self, server: ProviderServer) -> None:
        options: Any = {"base_url": server.gemini_url}
        with genai.Client(vertexai=True, api_key="k", http_options=options) as client:
            assert client.models.generate_content(model="g", contents="hello").text == TEXT
        assert server.reported[0].path == "/v1beta1/publishers/google/models/g:generateContent"

    @pytest.mark.parametrize(
        ("status", "error", "name"),
        [(429, errors.ClientError, "RESOURCE_EXHAUSTED"), (500, errors.ServerError, "INTERNAL")],
    )
    def test_errors(
        self, server: ProviderServer, client: genai.Client, status: int, error: Any, name: str
    ) -> None:
        with server.faulty(status=status), pytest.raises(error) as caught:
            client.models.generate_content(model="g", contents="hello")
        assert (caught.value.code, caught.value.status) == (status, name)

    def test_delay(self, server: ProviderServer, client: genai.Client) -> None:
        begun = time.monotonic()
        with server.faulty(delay_s=0.05):
            client.models.generate_content(model="g", contents="hello")
        assert time.monotonic() - begun >= 0.05

    def test_usage_may_depend_on_the_request(self) -> None:
        seen: list[Asked] = []

        def usage(asked: Asked) -> Tokens:
            seen.append(asked)
            return Tokens(asked.characters, 1)

        with (
            ProviderServer(usage) as server,
            genai.Client(api_key="k", http_options={"base_url": server.gemini_url}) as client,
        ):
            config: Any = {"max_output_tokens": 9, "system_instruction": "be brief"}
            client.models.generate_content(model="g", contents="hello", config=config)
        path = "/v1/models/g:generateContent"
        assert seen == [Asked(path, "g", stream=False, characters=13, max_output_tokens=9)]


class TestCohere:
    @pytest.fixture
    def client(self, server: ProviderServer) -> Iterator[cohere.ClientV2]:
        with httpx.Client() as transport:
            yield cohere.ClientV2(api_key="k", base_url=server.cohere_url, httpx_client=transport)

    def test_plain(self, client: cohere.ClientV2) -> None:
        answer: Any = client.chat(model="m", messages=HELLO)
        assert answer.message.content[0].text == WORDS
        assert answer.usage.tokens.input_tokens == answer.usage.billed_units.input_tokens == 11
        assert (answer.usage.tokens.output_tokens, answer.usage.cached_tokens) == (7, 4)

    def test_stream(self, client: cohere.ClientV2) -> None:
        events: list[Any] = list(client.chat_stream(model="m", messages=HELLO))
        assert [event.type for event in events] == [
            "message-start",
            "content-start",
            *["content-delta"] * 4,
            "content-end",
            "message-end",
        ]
        assert events[-1].delta.usage.billed_units.output_tokens == 7

    def test_tool_rounds(self, server: ProviderServer, client: cohere.ClientV2) -> None:
        with server.faulty(tool_rounds=1):
            answer: Any = client.chat(model="m", messages=HELLO, tools=[CHAT_TOOL])
            events: list[Any] = list(
                client.chat_stream(model="m", messages=HELLO, tools=[CHAT_TOOL])
            )
            (call,) = answer.message.tool_calls
            result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
            after = client.chat(model="m", messages=[*HELLO, result], tools=[CHAT_TOOL])
        assert (call.function.name, call.function.arguments) == ("weather", '{"city":"river"}')
        assert events[1].delta.message.tool_calls.function.name == "weather"
        assert [answer.finish_reason, events[-1].delta.finish_reason, after.finish_reason] == [
            "TOOL_CALL",
            "TOOL_CALL",
            "COMPLETE",
        ]

    def test_the_first_api(self, server: ProviderServer) -> None:
        with httpx.Client() as transport:
            client = cohere.Client("k", base_url=server.cohere_url, httpx_client=transport)
            answer: Any = client.chat(model="m", message="hello")
            *_, last = client.chat_stream(model="m", message="hello")
            vectors = client.embed(model="m", texts=["one", "two"]).embeddings
        end: Any = last
        assert answer.text == end.response.text == WORDS
        assert answer.meta.tokens.output_tokens == end.response.meta.tokens.output_tokens == 7
        assert len(vectors) == 2

    def test_embeddings(self, client: cohere.ClientV2) -> None:
        answer: Any = client.embed(
            model="m", texts=["one", "two"], input_type="search_query", embedding_types=["float"]
        )
        assert len(answer.embeddings.float_) == 2
        assert answer.meta.billed_units.input_tokens == 11

    def test_it_retries(self, server: ProviderServer, client: cohere.ClientV2) -> None:
        with server.faulty(status=[500, 429], retry_after_s=0.001):
            client.chat(model="m", messages=HELLO)
        assert [line.status for line in server.reported] == [500, 429, 200]

    def test_errors(self, server: ProviderServer, client: cohere.ClientV2) -> None:
        with server.faulty(status=401), pytest.raises(cohere.UnauthorizedError):
            client.chat(model="m", messages=HELLO)


class TestOllama:
    @pytest.fixture
    def client(self, server: ProviderServer) -> Iterator[ollama.Client]:
        with ollama.Client(server.ollama_url) as client:
            yield client

    def test_plain(self, client: ollama.Client) -> None:
        answer = client.chat("m", HELLO)
        assert answer.message.content == WORDS
        assert (answer.prompt_eval_count, answer.eval_count) == (11, 7)
        assert client.generate("m", "hello").response == WORDS

    def test_stream(self, client: ollama.Client) -> None:
        *rest, last = client.chat("m", HELLO, stream=True)
        assert "".join(part.message.content or "" for part in rest) == WORDS
        assert all(part.eval_count is None for part in rest)
        assert (last.done, last.prompt_eval_count, last.eval_count) == (True, 11, 7)
        assert list(client.generate("m", "hello", stream=True))[-1].eval_count == 7

    def test_tool_rounds(self, server: ProviderServer, client: ollama.Client) -> None:
        with server.faulty(tool_rounds=1):
            answer = client.chat("m", HELLO, tools=[weather])
            said = [*HELLO, answer.message, {"role": "tool", "content": "sunny"}]
            assert client.chat("m", said, tools=[weather]).message.content == WORDS
        assert answer.message.tool_calls
        assert answer.message.tool_calls[0].function.arguments == {"city": "river"}

    def test_schema(self, client: ollama.Client) -> None:
        text = client.chat("m", HELLO, format=Place.model_json_schema()).message.content
        assert Place.model_validate_json(text or "") == Place(name="river", rank=1)

    def test_embeddings(self, client: ollama.Client) -> None:
        answer = client.embed("m", ["one", "two"])
        assert (len(answer.embeddings), answer.prompt_eval_count) == (2, 11)

    def test_errors(self, server: ProviderServer, client: ollama.Client) -> None:
        with server.faulty(status=404), pytest.raises(ollama.ResponseError, match="not found"):
            client.chat("m", HELLO)

    def test_async(self, server: ProviderServer) -> None:
        async def main() -> list[int | None]:
            async with ollama.AsyncClient(server.ollama_url) as client:
                whole = await client.chat("m", HELLO)
                stream = await client.chat("m", HELLO, stream=True)
                return [whole.eval_count, [part async for part in stream][-1].eval_count]

        assert asyncio.run(main()) == [7, 7]


class TestMistral:
    @pytest.fixture
    def client(self, server: ProviderServer) -> Iterator[Mistral]:
        with Mistral(api_key="k", server_url=server.mistral_url) as client:
            yield client

    def test_plain(self, client: Mistral) -> None:
        answer: Any = client.chat.complete(model="m", messages=HELLO)
        assert answer.choices[0].message.content == WORDS
        assert answer.usage.total_tokens == 18
        assert answer.usage.additional_properties == {"prompt_tokens_details": {"cached_tokens": 4}}

    def test_a_stream_tells_its_usage_unasked(self, client: Mistral) -> None:
        *rest, last = client.chat.stream(model="m", messages=HELLO)
        assert "".join(str(e.data.choices[0].delta.content) for e in rest) == WORDS
        assert last.data.choices[0].finish_reason == "stop"
        assert last.data.usage
        assert last.data.usage.completion_tokens == 7

    def test_tool_rounds(self, server: ProviderServer, client: Mistral) -> None:
        asked: Any = {"model": "m", "messages": HELLO, "tools": [CHAT_TOOL]}
        with server.faulty(tool_rounds=1):
            whole: Any = client.chat.complete(**asked)
            *_, last = client.chat.stream(**asked)
        end: Any = last
        assert whole.choices[0].message.tool_calls[0].function.arguments == '{"city":"river"}'
        assert end.data.choices[0].delta.tool_calls[0].function.name == "weather"

    def test_parse(self, client: Mistral) -> None:
        answer: Any = client.chat.parse(model="m", messages=HELLO, response_format=Place)
        assert answer.choices[0].message.parsed == Place(name="river", rank=1)

    def test_embeddings(self, client: Mistral) -> None:
        answer = client.embeddings.create(model="m", inputs=["one", "two"])
        assert (len(answer.data), answer.usage.prompt_tokens) == (2, 11)

    def test_errors(self, server: ProviderServer, client: Mistral) -> None:
        with server.faulty(status=429), pytest.raises(SDKError) as caught:
            client.chat.complete(model="m", messages=HELLO)
        assert caught.value.status_code == 429


class TestAzure:
    def test_deployments_are_models(self, server: ProviderServer) -> None:
        with openai.AzureOpenAI(
            azure_endpoint=server.azure_url, api_key="k", api_version="2024-10-21"
        ) as client:
            client.chat.completions.create(model="d", messages=HELLO)
            client.embeddings.create(model="e", input="hello")
            client.responses.create(model="f", input="hello")
        assert [(line.path, line.model) for line in server.reported] == [
            ("/openai/deployments/d/chat/completions", "d"),
            ("/openai/deployments/e/embeddings", "e"),
            ("/openai/responses", "f"),
        ]


class TestCompletions:
    @pytest.fixture
    def client(self, server: ProviderServer) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=server.openai_url, api_key="k", max_retries=0) as client:
            yield client

    def test_a_choice_a_prompt(self, client: openai.OpenAI) -> None:
        answer = client.completions.create(model="m", prompt=["one", "two"])
        assert [choice.text for choice in answer.choices] == [TEXT, TEXT]
        assert answer.usage
        assert answer.usage.total_tokens == 18

    def test_stream(self, client: openai.OpenAI) -> None:
        asked: Any = {"model": "m", "prompt": "hello", "stream": True}
        chunks: list[Any] = list(client.completions.create(**asked))
        assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT
        assert all(chunk.usage is None for chunk in chunks)
        *_, last = client.completions.create(**asked, stream_options={"include_usage": True})
        assert last.usage.total_tokens == 18
