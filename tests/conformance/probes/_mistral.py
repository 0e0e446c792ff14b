"""What one does with Mistral's client, whoever makes spans of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mistralai.client import Mistral

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ways import in_loop

_TOOL: Final[Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def mistral_ways(
    server: ProviderServer, prepare: Callable[[Mistral], Any] = lambda _: None
) -> Mapping[str, Way]:
    """All of them, sync and async.

    Args:
        server: that is asked.
        prepare: is given each client before it is used.
    """

    def make() -> Mistral:
        client = Mistral(api_key="k", server_url=server.mistral_url)
        prepare(client)
        return client

    client = make()

    def stream(text: str) -> None:
        with client.chat.stream(**_asked(text)) as events:
            for _ in events:
                pass

    async def stream_async(client: Mistral, text: str) -> None:
        async for _ in await client.chat.stream_async(**_asked(text)):
            pass

    return {
        "chat": Way(lambda text: client.chat.complete(**_asked(text))),
        "chat with tools": Way(lambda text: client.chat.complete(**_asked(text), tools=[_TOOL])),
        "chat async": Way(
            lambda text: in_loop(make, lambda one: one.chat.complete_async(**_asked(text)))
        ),
        "chat stream": Way(stream),
        "chat stream async": Way(lambda text: in_loop(make, lambda one: stream_async(one, text))),
        "embeddings": Way(
            lambda text: client.embeddings.create(model="mistral-embed", inputs=[text])
        ),
    }


def _asked(text: str) -> dict[str, Any]:
    return {"model": "mistral-small-latest", "messages": [{"role": "user", "content": text}]}
