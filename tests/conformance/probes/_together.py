"""What one does with Together's client, whoever makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import together

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ways import Asks

_MODEL: Final = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
_TOOL: Final[Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}
#: The client has no such argument, the endpoint has.
_USAGE: Final[Any] = {"extra_body": {"stream_options": {"include_usage": True}}}

_ASKS: Final = Asks(
    answers={
        "chat": lambda client, text: _chat(client, text),
        "chat with tools": lambda client, text: _chat(client, text, tools=[_TOOL]),
        "completion": lambda client, text: client.completions.create(model=_MODEL, prompt=text),
        "embeddings": lambda client, text: client.embeddings.create(
            model="intfloat/multilingual-e5-large-instruct", input=text
        ),
    },
    streams={
        "chat stream": lambda client, text: _chat(client, text, stream=True, **_USAGE),
    },
)


def together_ways(server: ProviderServer) -> Mapping[str, Way]:
    """All of them, sync and async, with the retries that the client has by default."""
    return _ASKS.ways(
        together.Together(base_url=server.url, api_key="k"),
        lambda: together.AsyncTogether(base_url=server.url, api_key="k"),
    )


def _chat(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(
        model=_MODEL, messages=[{"role": "user", "content": text}], **more
    )
