"""What one does with Groq's client, whoever makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import groq

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ways import Asks

_TOOL: Final[Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}
#: The client has no such argument, the endpoint has.
_USAGE: Final[Any] = {"extra_body": {"stream_options": {"include_usage": True}}}

_ASKS: Final = Asks(
    answers={
        "chat": lambda client, text: _chat(client, text),
        "chat with tools": lambda client, text: _chat(client, text, tools=[_TOOL]),
        "chat raw": lambda client, text: client.chat.completions.with_raw_response.create(
            model="llama-3.3-70b-versatile", messages=[{"role": "user", "content": text}]
        ),
    },
    streams={
        "chat stream": lambda client, text: _chat(client, text, stream=True, **_USAGE),
        "chat stream no usage": lambda client, text: _chat(client, text, stream=True),
    },
    untold=("chat stream no usage",),
)


def groq_ways(server: ProviderServer) -> Mapping[str, Way]:
    """All of them, sync and async, with the retries that the client has by default."""
    return _ASKS.ways(
        groq.Groq(base_url=server.url, api_key="k"),
        lambda: groq.AsyncGroq(base_url=server.url, api_key="k"),
    )


def _chat(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(
        model="llama-3.3-70b-versatile", messages=[{"role": "user", "content": text}], **more
    )
