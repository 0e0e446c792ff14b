"""What one does with LlamaIndex, whoever makes spans of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way


def weather(town: str) -> str:
    """The weather of a town."""
    return f"It rains in {town}."


def llama_index_ways(server: ProviderServer) -> Mapping[str, Way]:
    """The model of OpenAI alone, in an agent, and embeddings."""
    told: dict[str, Any] = {"api_base": server.openai_url, "api_key": "k"}

    def make(**more: Any) -> OpenAI:
        return OpenAI(model="gpt-4o-mini", **told, **more)

    model, with_usage = make(), make(additional_kwargs=_USAGE)

    def read(events: Any) -> None:
        for _ in events:
            pass

    async def chat_async(text: str) -> None:
        await make().achat(_said(text))

    async def stream_async(text: str) -> None:
        events = await make(additional_kwargs=_USAGE).astream_chat(_said(text))
        async for _ in events:
            pass

    async def agent(text: str, streaming: bool) -> None:
        with server.faulty(tool_rounds=2):
            llm = make(additional_kwargs=_USAGE) if streaming else make()
            await FunctionAgent(tools=[weather], llm=llm, streaming=streaming).run(text)

    async def embed_async(text: str) -> None:
        await OpenAIEmbedding(**told).aget_text_embedding(text)

    return {
        "complete": Way(lambda text: model.complete(text)),
        "chat": Way(lambda text: model.chat(_said(text))),
        "chat async": Way(lambda text: asyncio.run(chat_async(text))),
        "chat stream": Way(lambda text: read(with_usage.stream_chat(_said(text)))),
        "chat stream async": Way(lambda text: asyncio.run(stream_async(text))),
        "chat stream no usage": Way(lambda text: read(model.stream_chat(_said(text))), told=False),
        "agent with tools": Way(lambda text: asyncio.run(agent(text, False)), requests=3),
        "agent with tools stream": Way(lambda text: asyncio.run(agent(text, True)), requests=3),
        "embeddings": Way(lambda text: OpenAIEmbedding(**told).get_text_embedding(text)),
        "embeddings async": Way(lambda text: asyncio.run(embed_async(text))),
    }


_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}


def _said(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]
