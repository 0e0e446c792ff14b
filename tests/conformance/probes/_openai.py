"""What one does with the openai client, whoever makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import openai
from pydantic import BaseModel

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ways import Asks, in_loop

MODEL: Final = "gpt-5.1"
_CITY: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOLS: Final = [{"type": "function", "function": {"name": "weather", "parameters": _CITY}}]
_USAGE: Final = {"stream": True, "stream_options": {"include_usage": True}}


class Place(BaseModel):
    """What is parsed."""

    name: str
    rank: int


_ASKS: Final = Asks(
    answers={
        "chat": lambda client, text: _chat(client, text),
        "chat raw": lambda client, text: client.chat.completions.with_raw_response.create(
            model=MODEL, messages=_user(text)
        ),
        "parse": lambda client, text: client.chat.completions.parse(
            model=MODEL, messages=_user(text), response_format=Place
        ),
        "responses": lambda client, text: client.responses.create(model=MODEL, input=text),
        "responses parse": lambda client, text: client.responses.parse(
            model=MODEL, input=text, text_format=Place
        ),
        "embeddings": lambda client, text: client.embeddings.create(model=MODEL, input=text),
    },
    streams={
        "chat stream": lambda client, text: _chat(client, text, **_USAGE),
        "chat stream no usage": lambda client, text: _chat(client, text, stream=True),
        "responses stream": lambda client, text: client.responses.create(
            model=MODEL, input=text, stream=True
        ),
    },
    managers={
        "chat stream manager": lambda client, text: client.chat.completions.stream(
            model=MODEL, messages=_user(text), stream_options={"include_usage": True}
        ),
        "responses stream manager": lambda client, text: client.responses.stream(
            model=MODEL, input=text
        ),
    },
    untold=("chat stream no usage",),
)


def openai_ways(server: ProviderServer) -> Mapping[str, Way]:
    """All of them, sync and async, with the retries that the client has by default."""
    client = openai.OpenAI(base_url=server.openai_url, api_key="k")

    def async_client() -> Any:
        return openai.AsyncOpenAI(base_url=server.openai_url, api_key="k")

    return {
        **_ASKS.ways(client, async_client),
        "tools": Way(lambda text: _tools(client, server, text), requests=3),
        "tools stream async": Way(
            lambda text: in_loop(async_client, lambda one: _tools_async(one, server, text)),
            requests=3,
        ),
    }


def _user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def _chat(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=_user(text), **more)


def _tools(client: Any, server: ProviderServer, text: str) -> None:
    """Two rounds with a tool, and the answer."""
    messages = _user(text)
    with server.faulty(tool_rounds=2):
        for _ in range(3):
            answer = client.chat.completions.create(model=MODEL, messages=messages, tools=_TOOLS)
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            for asked in message.tool_calls or ():
                messages.append({"role": "tool", "tool_call_id": asked.id, "content": "sunny"})


async def _tools_async(client: Any, server: ProviderServer, text: str) -> None:
    """The same, streamed."""
    messages = _user(text)
    with server.faulty(tool_rounds=2):
        for _ in range(3):
            stream = await client.chat.completions.create(
                model=MODEL, messages=messages, tools=_TOOLS, **_USAGE
            )
            async for _ in stream:
                pass
            messages.append({"role": "tool", "tool_call_id": "c", "content": "sunny"})
