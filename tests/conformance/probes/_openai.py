"""What one does with the openai client, whoever makes spans of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

MODEL: Final = "gpt-5.1"
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": _CITY}}]
_USAGE = {"stream": True, "stream_options": {"include_usage": True}}

#: Plain answers: each gives one, or an awaitable of one.
_ANSWERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "chat": lambda client, text: _chat(client, text),
    "parse": lambda client, text: client.chat.completions.parse(
        model=MODEL, messages=_user(text), response_format=_place()
    ),
    "chat raw": lambda client, text: client.chat.completions.with_raw_response.create(
        model=MODEL, messages=_user(text)
    ),
    "responses": lambda client, text: client.responses.create(model=MODEL, input=text),
    "responses parse": lambda client, text: client.responses.parse(
        model=MODEL, input=text, text_format=_place()
    ),
    "embeddings": lambda client, text: client.embeddings.create(model=MODEL, input=text),
}
#: Streams, and whether they tell what they used.
_STREAMS: Final[dict[str, tuple[Callable[[Any, str], Any], bool]]] = {
    "chat stream": (lambda client, text: _chat(client, text, **_USAGE), True),
    "chat stream no usage": (lambda client, text: _chat(client, text, stream=True), False),
    "responses stream": (
        lambda client, text: client.responses.create(model=MODEL, input=text, stream=True),
        True,
    ),
}
#: The same through the client's own context managers.
_MANAGERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "chat stream manager": lambda client, text: client.chat.completions.stream(
        model=MODEL, messages=_user(text), stream_options={"include_usage": True}
    ),
    "responses stream manager": lambda client, text: client.responses.stream(
        model=MODEL, input=text
    ),
}


def openai_ways(server: ProviderServer, *, leave_out: tuple[str, ...] = ()) -> Mapping[str, Way]:
    """All of them, sync and async; some clients are too old for some of them."""
    import openai

    sync = openai.OpenAI(base_url=server.openai_url, api_key="k")
    found: dict[str, Way] = {}
    for name, ask in _ANSWERS.items():
        found[name] = Way(lambda text, ask=ask: ask(sync, text))
    for name, (ask, told) in _STREAMS.items():
        found[name] = Way(lambda text, ask=ask: _read(ask(sync, text)), told=told)
    for name, ask in _MANAGERS.items():
        found[name] = Way(lambda text, ask=ask: _read_in(ask(sync, text)))
    found["tools"] = Way(lambda text: _tools(sync, server, text), requests=3)
    for name, way in _async_ways(server):
        found[name] = way
    return {name: way for name, way in found.items() if not name.startswith(leave_out or ("-",))}


def _async_ways(server: ProviderServer) -> list[tuple[str, Way]]:
    import openai

    def alone(do: Callable[[Any], Awaitable[None]]) -> None:
        async def main() -> None:
            async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="k") as client:
                await do(client)

        asyncio.run(main())

    async def answer(ask: Callable[[Any, str], Any], client: Any, text: str) -> None:
        await ask(client, text)

    async def stream(ask: Callable[[Any, str], Any], client: Any, text: str) -> None:
        async for _ in await ask(client, text):
            pass

    async def manager(ask: Callable[[Any, str], Any], client: Any, text: str) -> None:
        async with ask(client, text) as events:
            async for _ in events:
                pass

    def way(how: Any, ask: Callable[[Any, str], Any], *, told: bool = True) -> Way:
        return Way(lambda text: alone(lambda client: how(ask, client, text)), told=told)

    found = [(f"{name} async", way(answer, ask)) for name, ask in _ANSWERS.items()]
    found += [(f"{n} async", way(stream, ask, told=told)) for n, (ask, told) in _STREAMS.items()]
    found += [(f"{name} async", way(manager, ask)) for name, ask in _MANAGERS.items()]
    tools = Way(lambda text: alone(lambda client: _async_tools(client, server, text)), requests=3)
    return [*found, ("tools async stream", tools)]


def _place() -> type:
    from pydantic import BaseModel

    class Place(BaseModel):
        name: str
        rank: int

    return Place


def _user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def _chat(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=_user(text), **more)


def _read(stream: Any) -> None:
    for _ in stream:
        pass


def _read_in(manager: Any) -> None:
    with manager as events:
        _read(events)


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


async def _async_tools(client: Any, server: ProviderServer, text: str) -> None:
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
