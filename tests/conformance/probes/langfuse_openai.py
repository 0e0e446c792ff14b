"""Langfuse: its drop-in for the openai client, and functions that it observes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from langfuse import Langfuse, observe
from langfuse.openai import AsyncOpenAI, OpenAI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

ENV = "langfuse"
TITLE = "Langfuse: openai drop-in and @observe"
PACKAGES = ("langfuse", "openai")


def instrument(provider: TracerProvider) -> None:
    Langfuse(
        public_key="pk",
        secret_key="sk",
        base_url="http://127.0.0.1:9",
        tracer_provider=provider,
        span_exporter=InMemorySpanExporter(),
    )


def ways(server: ProviderServer) -> Mapping[str, Way]:
    client = OpenAI(base_url=server.openai_url, api_key="k")

    def chat(text: str, **more: Any) -> Any:
        return client.chat.completions.create(**_asked(text), **more)

    async def chat_async(text: str) -> None:
        async with AsyncOpenAI(base_url=server.openai_url, api_key="k") as one:
            await one.chat.completions.create(**_asked(text))

    async def stream_async(text: str) -> None:
        async with AsyncOpenAI(base_url=server.openai_url, api_key="k") as one:
            async for _ in await one.chat.completions.create(**_asked(text), **_USAGE):
                pass

    @observe()
    def observed(text: str) -> Any:
        chat(text)
        return chat(text)

    @observe(as_type="generation")
    def observed_generation(text: str) -> Any:
        return chat(text)

    @observe(as_type="generation")
    async def observed_async(text: str) -> None:
        await chat_async(text)

    return {
        "chat": Way(chat),
        "chat stream": Way(lambda text: _read(chat(text, **_USAGE))),
        "chat stream no usage": Way(lambda text: _read(chat(text, stream=True)), told=False),
        "chat async": Way(lambda text: asyncio.run(chat_async(text))),
        "chat stream async": Way(lambda text: asyncio.run(stream_async(text))),
        "responses": Way(lambda text: client.responses.create(model="gpt-5.1", input=text)),
        "responses stream": Way(
            lambda text: _read(client.responses.create(model="gpt-5.1", input=text, stream=True))
        ),
        "embeddings": Way(
            lambda text: client.embeddings.create(model="text-embedding-3-small", input=text)
        ),
        "observed": Way(observed, requests=2),
        "observed generation": Way(observed_generation),
        "observed generation async": Way(lambda text: asyncio.run(observed_async(text))),
    }


_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def _asked(text: str) -> dict[str, Any]:
    return {"model": "gpt-5.1", "messages": [{"role": "user", "content": text}]}


def _read(events: Any) -> None:
    for _ in events:
        pass
