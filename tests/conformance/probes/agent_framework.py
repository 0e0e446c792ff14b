"""Microsoft agent-framework: clients, agents with tools; it makes spans by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from agent_framework import Agent, Message
from agent_framework.observability import enable_instrumentation
from agent_framework_openai import (
    OpenAIChatClient,
    OpenAIChatCompletionClient,
    OpenAIEmbeddingClient,
)
from openai import AsyncOpenAI
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

ENV = "agent_framework"
TITLE = "Microsoft agent-framework"
PACKAGES = ("agent-framework-core", "agent-framework-openai", "openai")

Chat = OpenAIChatClient | OpenAIChatCompletionClient


def instrument(provider: TracerProvider) -> None:
    """It takes the global provider by itself."""
    enable_instrumentation()


def ways(server: ProviderServer) -> Mapping[str, Way]:
    """Clients of both of OpenAI's interfaces, agents on them, and embeddings: all async."""

    async def embed(text: str) -> None:
        async with _openai(server) as client:
            await OpenAIEmbeddingClient(
                model="text-embedding-3-small", async_client=client
            ).get_embeddings([text])

    return {
        **_ways_of("chat", OpenAIChatCompletionClient, server),
        **_ways_of("responses", OpenAIChatClient, server),
        "embeddings async": Way(lambda text: asyncio.run(embed(text))),
    }


def _ways_of(name: str, make: Callable[..., Chat], server: ProviderServer) -> dict[str, Way]:
    async def chat(text: str) -> None:
        async with _openai(server) as client:
            await make("gpt-5-mini", async_client=client).get_response([_said(text)])

    async def stream(text: str) -> None:
        async with _openai(server) as client:
            chat = make("gpt-5-mini", async_client=client)
            await _drain(chat.get_response([_said(text)], stream=True))

    async def agent(text: str) -> None:
        async with _openai(server) as client:
            await _agent(make("gpt-5-mini", async_client=client)).run(text)

    async def agent_stream(text: str) -> None:
        async with _openai(server) as client:
            await _drain(_agent(make("gpt-5-mini", async_client=client)).run(text, stream=True))

    def with_tools(way: Callable[[str], Coroutine[Any, Any, None]]) -> Way:
        def run(text: str) -> None:
            with server.faulty(tool_rounds=1):
                asyncio.run(way(text))

        return Way(run, requests=2)

    return {
        f"{name} async": Way(lambda text: asyncio.run(chat(text))),
        f"{name} async stream": Way(lambda text: asyncio.run(stream(text))),
        f"{name} agent": with_tools(agent),
        f"{name} agent stream": with_tools(agent_stream),
    }


def _openai(server: ProviderServer) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=server.openai_url, api_key="k")


def _agent(client: Chat) -> Agent[Any]:
    return Agent(client=client, name="writer", tools=[look_up])


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


def _said(text: str) -> Message:
    return Message("user", [text])


async def _drain(stream: Any) -> None:
    async for _ in stream:
        pass
