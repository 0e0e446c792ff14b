"""Ways of OpenAI's agents SDK to ask models: the same under each of its instrumentations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from agents import (
    Agent,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_trace_processors,
)
from openai import AsyncOpenAI

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

Make = Callable[[AsyncOpenAI], Model]


def stay_at_home() -> None:
    """Take the exporter off that sends each trace to OpenAI."""
    set_trace_processors([])


def agents_ways(server: ProviderServer) -> Mapping[str, Way]:
    """An agent on each kind of model."""
    return {
        **_ways_of("chat", _chat, server),
        **_ways_of("responses", _responses, server),
        "chat stream no usage": Way(
            lambda text: asyncio.run(_streamed(server, _chat, text, usage=False)), told=False
        ),
    }


def _ways_of(name: str, make: Make, server: ProviderServer) -> dict[str, Way]:
    def with_tools(way: Callable[[str], Coroutine[Any, Any, None]]) -> Way:
        def run(text: str) -> None:
            with server.faulty(tool_rounds=1):
                asyncio.run(way(text))

        return Way(run, requests=2)

    return {
        name: Way(lambda text: _sync(server, make, text)),
        f"{name} async": Way(lambda text: asyncio.run(_run(server, make, text))),
        f"{name} async stream": Way(lambda text: asyncio.run(_streamed(server, make, text))),
        f"{name} tools": with_tools(lambda text: _run(server, make, text)),
        f"{name} tools stream": with_tools(lambda text: _streamed(server, make, text)),
    }


def _sync(server: ProviderServer, make: Make, text: str) -> None:
    """`run_sync` runs the event loop of its thread, and leaves it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client = _client(server)
    try:
        Runner.run_sync(_agent(make(client)), text)
    finally:
        loop.run_until_complete(client.close())
        loop.close()
        asyncio.set_event_loop(None)


async def _run(server: ProviderServer, make: Make, text: str) -> None:
    async with _client(server) as client:
        await Runner.run(_agent(make(client)), text)


async def _streamed(server: ProviderServer, make: Make, text: str, *, usage: bool = True) -> None:
    async with _client(server) as client:
        async for _ in Runner.run_streamed(_agent(make(client), usage=usage), text).stream_events():
            pass


def _client(server: ProviderServer) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=server.openai_url, api_key="k")


def _agent(model: Model, *, usage: bool = True) -> Agent[Any]:
    return Agent(
        name="writer",
        model=model,
        model_settings=ModelSettings(include_usage=usage),
        tools=[function_tool(look_up)],
    )


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


def _chat(client: AsyncOpenAI) -> Model:
    return OpenAIChatCompletionsModel("gpt-5-mini", client)


def _responses(client: AsyncOpenAI) -> Model:
    return OpenAIResponsesModel("gpt-5-mini", client)
