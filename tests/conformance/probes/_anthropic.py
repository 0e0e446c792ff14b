"""What one does with the anthropic client, whoever makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anthropic
from pydantic import BaseModel

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ways import Asks, in_loop

MODEL: Final = "claude-opus-4-8"
_CITY: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOLS: Final = [{"name": "weather", "input_schema": _CITY}]


class Place(BaseModel):
    """What is parsed."""

    name: str
    rank: int


_ASKS: Final = Asks(
    answers={
        "messages": lambda client, text: client.messages.create(**_asking(text)),
        "messages raw": lambda client, text: client.messages.with_raw_response.create(
            **_asking(text)
        ),
        "messages parse": lambda client, text: client.messages.parse(
            **_asking(text), output_format=Place
        ),
        "messages beta": lambda client, text: client.beta.messages.create(**_asking(text)),
    },
    streams={
        "messages stream": lambda client, text: client.messages.create(
            **_asking(text), stream=True
        ),
    },
    managers={
        "messages stream manager": lambda client, text: client.messages.stream(**_asking(text)),
    },
)


def anthropic_ways(server: ProviderServer) -> Mapping[str, Way]:
    """All of them, sync and async, with the retries that the client has by default."""
    client = anthropic.Anthropic(base_url=server.anthropic_url, api_key="k")

    def async_client() -> Any:
        return anthropic.AsyncAnthropic(base_url=server.anthropic_url, api_key="k")

    found = _ASKS.ways(client, async_client)
    if not hasattr(client.messages, "parse"):  # an old one
        found = {name: way for name, way in found.items() if "parse" not in name}
    return {
        **found,
        "messages tools": Way(lambda text: _tools(client, server, text), requests=3),
        "messages tools stream async": Way(
            lambda text: in_loop(async_client, lambda one: _tools_async(one, server, text)),
            requests=3,
        ),
    }


def _asking(text: str) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": text}]}


def _tools(client: Any, server: ProviderServer, text: str) -> None:
    """Two rounds with a tool, and the answer."""
    asking = _asking(text)
    with server.faulty(tool_rounds=2):
        for _ in range(3):
            answer = client.messages.create(**asking, tools=_TOOLS)
            _go_on(asking["messages"], answer)


async def _tools_async(client: Any, server: ProviderServer, text: str) -> None:
    """The same, streamed."""
    asking = _asking(text)
    with server.faulty(tool_rounds=2):
        for _ in range(3):
            async with client.messages.stream(**asking, tools=_TOOLS) as stream:
                answer = await stream.get_final_message()
            _go_on(asking["messages"], answer)


def _go_on(messages: list[Any], answer: Any) -> None:
    messages.append({"role": "assistant", "content": [one.model_dump() for one in answer.content]})
    used = [one for one in answer.content if one.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": one.id, "content": "sunny"} for one in used]
    if results:
        messages.append({"role": "user", "content": results})
