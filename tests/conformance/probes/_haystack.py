"""What one does with Haystack, whoever makes spans of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from haystack import Document, Pipeline
from haystack.components.agents import Agent
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

_TOWN = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}


def haystack_ways(server: ProviderServer) -> Mapping[str, Way]:
    """Components alone, in a pipeline, and in an agent."""
    told: dict[str, Any] = {"api_base_url": server.openai_url, "api_key": Secret.from_token("k")}
    usage = {"stream_options": {"include_usage": True}}
    chat = OpenAIChatGenerator(model="gpt-5.1", **told)
    streaming = OpenAIChatGenerator(
        model="gpt-5.1", streaming_callback=_look_away, generation_kwargs=usage, **told
    )
    embedder = OpenAITextEmbedder(model="text-embedding-3-small", **told)
    documents = OpenAIDocumentEmbedder(model="text-embedding-3-small", progress_bar=False, **told)

    def piped(component: Any) -> Pipeline:
        pipeline = Pipeline()
        pipeline.add_component("it", component)
        return pipeline

    async def streamed_async(text: str) -> None:
        await OpenAIChatGenerator(model="gpt-5.1", generation_kwargs=usage, **told).run_async(
            _said(text), streaming_callback=_look_away_async
        )

    async def chat_async(text: str) -> None:
        await OpenAIChatGenerator(model="gpt-5.1", **told).run_async(_said(text))

    def agent(text: str) -> None:
        tool = Tool("weather", "of a town", _TOWN, lambda town: f"It rains in {town}.")
        with server.faulty(tool_rounds=2):
            piped(
                Agent(chat_generator=OpenAIChatGenerator(model="gpt-5.1", **told), tools=[tool])
            ).run({"it": {"messages": _said(text)}})

    pipelines = piped(OpenAIChatGenerator(model="gpt-5.1", **told))
    return {
        "chat": Way(lambda text: chat.run(_said(text))),
        "chat stream": Way(lambda text: streaming.run(_said(text))),
        "chat async": Way(lambda text: asyncio.run(chat_async(text))),
        "chat stream async": Way(lambda text: asyncio.run(streamed_async(text))),
        "pipeline": Way(lambda text: pipelines.run({"it": {"messages": _said(text)}})),
        "pipeline stream": Way(
            lambda text: piped(
                OpenAIChatGenerator(
                    model="gpt-5.1",
                    streaming_callback=_look_away,
                    generation_kwargs=usage,
                    **told,
                )
            ).run({"it": {"messages": _said(text)}})
        ),
        "agent with tools": Way(agent, requests=3),
        "embedder": Way(lambda text: embedder.run(text)),
        "document embedder": Way(lambda text: documents.run([Document(content=text)])),
    }


def _said(text: str) -> list[ChatMessage]:
    return [ChatMessage.from_user(text)]


def _look_away(chunk: Any) -> None:
    """Take a piece of the answer."""


async def _look_away_async(chunk: Any) -> None:
    """Take a piece of the answer."""
