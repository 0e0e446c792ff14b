"""pydantic-ai: agents on models of OpenAI and Anthropic; it makes spans by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

ENV = "pydantic_ai"
TITLE = "pydantic-ai"
PACKAGES = ("pydantic-ai-slim", "openai", "anthropic")

Client = AsyncOpenAI | AsyncAnthropic
Make = Callable[[Any], Model]


class Answer(BaseModel):
    """What a structured answer holds."""

    word: str


def instrument(provider: TracerProvider) -> None:
    """Spans of all agents and embedders; Anthropic's client makes its own besides."""
    settings = InstrumentationSettings(tracer_provider=provider)
    Agent.instrument_all(settings)
    Embedder.instrument_all(settings)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    """Agents on each model, a structured answer, and embeddings."""

    async def parse(text: str) -> None:
        async with _openai(server) as client:
            await Agent(_chat(client), output_type=NativeOutput(Answer)).run(text)

    async def embed(text: str) -> None:
        async with _openai(server) as client:
            provider = OpenAIProvider(openai_client=client)
            model = OpenAIEmbeddingModel("text-embedding-3-small", provider=provider)
            await Embedder(model).embed_documents([text])

    return {
        **_ways_of("chat", _openai, _chat, server),
        **_ways_of("responses", _openai, _responses, server),
        **_ways_of("messages", _anthropic, _messages, server),
        "chat parse": Way(lambda text: asyncio.run(parse(text))),
        "embeddings": Way(lambda text: asyncio.run(embed(text))),
    }


def _ways_of(
    name: str, connect: Callable[[ProviderServer], Client], make: Make, server: ProviderServer
) -> dict[str, Way]:
    async def ask(text: str) -> None:
        async with connect(server) as client:
            await _agent(make(client)).run(text)

    async def stream(text: str) -> None:
        async with (
            connect(server) as client,
            _agent(make(client)).run_stream(text) as answer,
        ):
            async for _ in answer.stream_text(debounce_by=None):
                pass

    def ask_sync(text: str) -> None:
        with _loop() as loop:
            client = connect(server)
            try:
                _agent(make(client)).run_sync(text)
            finally:
                loop.run_until_complete(client.close())

    def stream_sync(text: str) -> None:
        with _loop() as loop:
            client = connect(server)
            try:
                for _ in _agent(make(client)).run_stream_sync(text).stream_text(debounce_by=None):
                    pass
            finally:
                loop.run_until_complete(client.close())

    def with_tools(way: Callable[[str], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
        def run(text: str) -> None:
            with server.faulty(tool_rounds=1):
                asyncio.run(way(text))

        return run

    return {
        name: Way(ask_sync),
        f"{name} stream": Way(stream_sync),
        f"{name} async": Way(lambda text: asyncio.run(ask(text))),
        f"{name} async stream": Way(lambda text: asyncio.run(stream(text))),
        f"{name} tools": Way(with_tools(ask), requests=2),
        f"{name} tools stream": Way(with_tools(stream), requests=2),
    }


def _agent(model: Model) -> Agent[None, str]:
    agent = Agent(model, name="writer")
    agent.tool_plain(look_up)
    return agent


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of this thread: that is what synchronous methods of agents run."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        asyncio.set_event_loop(None)


def _openai(server: ProviderServer) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=server.openai_url, api_key="k")


def _anthropic(server: ProviderServer) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=server.anthropic_url, api_key="k")


def _chat(client: AsyncOpenAI) -> Model:
    return OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(openai_client=client))


def _responses(client: AsyncOpenAI) -> Model:
    return OpenAIResponsesModel("gpt-5-mini", provider=OpenAIProvider(openai_client=client))


def _messages(client: AsyncAnthropic) -> Model:
    provider = AnthropicProvider(anthropic_client=client)
    return AnthropicModel("claude-sonnet-4-5", provider=provider)
