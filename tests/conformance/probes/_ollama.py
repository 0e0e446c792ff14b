"""What one does with Ollama's client, whoever makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import ollama

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ways import Asks

_TOOL: Final[Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}

_ASKS: Final = Asks(
    answers={
        "chat": lambda client, text: client.chat(**_asked(text)),
        "chat with tools": lambda client, text: client.chat(**_asked(text), tools=[_TOOL]),
        "generate": lambda client, text: client.generate(model="llama3.2", prompt=text),
        "embeddings": lambda client, text: client.embed(model="llama3.2", input=text),
    },
    streams={
        "chat stream": lambda client, text: client.chat(**_asked(text), stream=True),
        "generate stream": lambda client, text: client.generate(
            model="llama3.2", prompt=text, stream=True
        ),
    },
)


def ollama_ways(server: ProviderServer) -> Mapping[str, Way]:
    """All of them, sync and async."""
    return _ASKS.ways(
        ollama.Client(host=server.ollama_url), lambda: ollama.AsyncClient(host=server.ollama_url)
    )


def _asked(text: str) -> dict[str, Any]:
    return {"model": "llama3.2", "messages": [{"role": "user", "content": text}]}
