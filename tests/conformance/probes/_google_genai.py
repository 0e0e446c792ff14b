"""Ways of Google's client to ask models: the same in each of its versions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from google import genai
from google.genai import types

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

_MODEL, _EMBEDDER = "gemini-2.5-flash", "gemini-embedding-001"
_TWO = "functions are called by the client, which then asks again: two calls under one span"


def google_ways(server: ProviderServer, httpx: Any) -> Mapping[str, Way]:
    """Sync by httpx, async by aiohttp and by httpx.

    Args:
        server: to ask.
        httpx: the module of that name that the client uses: httpx or httpx2.
    """
    return {
        **_sync_ways(server),
        **_async_ways("async", server, {}),
        **_async_ways("async httpx", server, {"transport": httpx.AsyncHTTPTransport}),
    }


def _sync_ways(server: ProviderServer) -> dict[str, Way]:
    def ask(text: str, **config: Any) -> None:
        with _client(server) as client:
            client.models.generate_content(model=_MODEL, contents=text, config=_config(config))

    def stream(text: str, **config: Any) -> None:
        with _client(server) as client:
            for _ in client.models.generate_content_stream(
                model=_MODEL, contents=text, config=_config(config)
            ):
                pass

    def embed(text: str) -> None:
        with _client(server) as client:
            client.models.embed_content(model=_EMBEDDER, contents=[text])

    def chat(text: str) -> None:
        with _client(server) as client:
            client.chats.create(model=_MODEL).send_message(text)

    def with_functions(text: str) -> None:
        with server.faulty(tool_rounds=1):
            ask(text, tools=[look_up])

    def stream_with_functions(text: str) -> None:
        with server.faulty(tool_rounds=1):
            stream(text, tools=[look_up])

    return {
        "generate": Way(ask),
        "generate stream": Way(stream),
        "generate functions": Way(with_functions, requests=2, note=_TWO),
        "generate functions stream": Way(stream_with_functions, requests=2, note=_TWO),
        "chat": Way(chat),
        "embeddings": Way(embed),
    }


def _async_ways(name: str, server: ProviderServer, client_args: dict[str, Any]) -> dict[str, Way]:
    async def ask(text: str, **config: Any) -> None:
        async with _client(server, client_args).aio as client:
            await client.models.generate_content(
                model=_MODEL, contents=text, config=_config(config)
            )

    async def stream(text: str, **config: Any) -> None:
        async with _client(server, client_args).aio as client:
            async for _ in await client.models.generate_content_stream(
                model=_MODEL, contents=text, config=_config(config)
            ):
                pass

    async def embed(text: str) -> None:
        async with _client(server, client_args).aio as client:
            await client.models.embed_content(model=_EMBEDDER, contents=[text])

    def with_functions(text: str) -> None:
        with server.faulty(tool_rounds=1):
            asyncio.run(ask(text, tools=[look_up]))

    return {
        f"generate {name}": Way(lambda text: asyncio.run(ask(text))),
        f"generate {name} stream": Way(lambda text: asyncio.run(stream(text))),
        f"generate {name} functions": Way(with_functions, requests=2, note=_TWO),
        f"embeddings {name}": Way(lambda text: asyncio.run(embed(text))),
    }


def _client(server: ProviderServer, async_args: Mapping[str, Any] | None = None) -> genai.Client:
    """A client; `async_args` are made anew, since they hold connections of one event loop."""
    options = types.HttpOptions(
        base_url=server.gemini_url,
        async_client_args={name: make() for name, make in (async_args or {}).items()},
    )
    return genai.Client(api_key="k", http_options=options)


def _config(settings: Mapping[str, Any]) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(**settings)


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"
