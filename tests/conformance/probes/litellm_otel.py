"""litellm with its own callback, which makes spans of calls when they are over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import litellm
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

ENV = "litellm"
TITLE = 'litellm, `callbacks=["otel"]`'
PACKAGES = ("litellm", "openai")

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}
USAGE = {"stream_options": {"include_usage": True}}


def instrument(provider: TracerProvider) -> None:
    """It takes the global provider by itself."""
    litellm.telemetry = False
    litellm.callbacks = ["otel"]


def ways(server: ProviderServer) -> Mapping[str, Way]:
    """OpenAI's interfaces by its client, Anthropic's without; a router that would retry."""
    openai = {"model": "openai/gpt-5-mini", "api_base": server.openai_url, "api_key": "k"}
    claude = {
        "model": "anthropic/claude-sonnet-4-5",
        "api_base": server.anthropic_url,
        "api_key": "k",
    }
    return {
        **_ways_of("chat", openai),
        **_ways_of("messages", claude),
        "chat stream no usage": Way(
            lambda text: _drain(litellm.completion(**openai, **_said(text), stream=True)),
            told=False,
        ),
        **_ways_of_responses(openai),
        **_ways_of_router(openai),
        **_ways_of_embeddings(server),
    }


def _ways_of(name: str, settings: dict[str, Any]) -> dict[str, Way]:
    def ask(text: str, **more: Any) -> Any:
        return litellm.completion(**settings, **_said(text), **more)

    async def ask_async(text: str) -> None:
        await litellm.acompletion(**settings, **_said(text))

    async def stream_async(text: str) -> None:
        await _drain_async(
            await litellm.acompletion(**settings, **_said(text), **USAGE, stream=True)
        )

    return {
        name: Way(ask),
        f"{name} stream": Way(lambda text: _drain(ask(text, **USAGE, stream=True))),
        f"{name} async": Way(lambda text: asyncio.run(ask_async(text))),
        f"{name} async stream": Way(lambda text: asyncio.run(stream_async(text))),
        f"{name} tools": Way(lambda text: ask(text, tools=[TOOL])),
    }


def _ways_of_responses(settings: dict[str, Any]) -> dict[str, Way]:
    async def ask_async(text: str) -> None:
        await litellm.aresponses(**settings, input=text)

    return {
        "responses": Way(lambda text: litellm.responses(**settings, input=text)),
        "responses stream": Way(
            lambda text: _drain(litellm.responses(**settings, input=text, stream=True))
        ),
        "responses async": Way(lambda text: asyncio.run(ask_async(text))),
    }


def _ways_of_router(settings: dict[str, Any]) -> dict[str, Way]:
    def router() -> litellm.Router:
        models = [{"model_name": "writer", "litellm_params": settings}]
        return litellm.Router(models, num_retries=2)

    async def ask_async(text: str) -> None:
        await router().acompletion("writer", **_said(text))

    return {
        "router": Way(lambda text: router().completion("writer", **_said(text))),
        "router async": Way(lambda text: asyncio.run(ask_async(text))),
    }


def _ways_of_embeddings(server: ProviderServer) -> dict[str, Way]:
    settings = {
        "model": "openai/text-embedding-3-small",
        "api_base": server.openai_url,
        "api_key": "k",
    }

    async def embed_async(text: str) -> None:
        await litellm.aembedding(**settings, input=[text])

    return {
        "embeddings": Way(lambda text: litellm.embedding(**settings, input=[text])),
        "embeddings async": Way(lambda text: asyncio.run(embed_async(text))),
    }


def _said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _drain(stream: Any) -> None:
    for _ in stream:
        pass


async def _drain_async(stream: Any) -> None:
    async for _ in stream:
        pass
