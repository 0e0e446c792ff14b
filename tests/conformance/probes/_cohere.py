"""What one does with Cohere's client, whoever makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cohere

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ways import Asks, in_loop

_TOOL: Final[Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}

_ASKS: Final = Asks(
    answers={
        "chat": lambda client, text: client.chat(**_asked(text)),
        "chat with tools": lambda client, text: client.chat(**_asked(text), tools=[_TOOL]),
        "embeddings": lambda client, text: client.embed(
            model="embed-v4.0",
            texts=[text],
            input_type="search_query",
            embedding_types=["float"],
        ),
    },
)


def cohere_ways(server: ProviderServer) -> Mapping[str, Way]:
    """All of them, sync and async, with the retries that the client has by default."""
    client = cohere.ClientV2(api_key="k", base_url=server.cohere_url)

    def make() -> cohere.AsyncClientV2:
        return cohere.AsyncClientV2(api_key="k", base_url=server.cohere_url)

    return {
        **_ASKS.ways(client, make),
        "chat stream": Way(lambda text: _read(client.chat_stream(**_asked(text)))),
        "chat stream async": Way(
            lambda text: in_loop(make, lambda one: _read_async(one.chat_stream(**_asked(text))))
        ),
    }


def _asked(text: str) -> dict[str, Any]:
    return {"model": "command-a-03-2025", "messages": [{"role": "user", "content": text}]}


def _read(events: Any) -> None:
    for _ in events:
        pass


async def _read_async(events: Any) -> None:
    async for _ in events:
        pass
