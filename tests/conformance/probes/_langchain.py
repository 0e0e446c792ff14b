"""Ways of LangChain to ask models: the same under each of its instrumentations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way

Run = Callable[[Coroutine[Any, Any, Any]], Any]

#: Of a structured answer.
SCHEMA = {
    "title": "Answer",
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
    "additionalProperties": False,
}


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


def langchain_ways(server: ProviderServer) -> Mapping[str, Way]:
    """Models of OpenAI and Anthropic, agents, what comes from a cache, embeddings."""
    # LangChain shares connections between its models, so all have to be used in one event loop.
    runner = asyncio.Runner()

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        return runner.run(main, context=copy_context())

    return {
        **_ways_of("chat", lambda: _chat(server), run),
        **_ways_of("responses", lambda: _chat(server, use_responses_api=True), run),
        **_ways_of("messages", lambda: _messages(server), run),
        "chat stream no usage": Way(
            lambda text: _drain(_chat(server, stream_usage=False).stream(text)), told=False
        ),
        **_ways_of_agents("agent", server, lambda: _chat(server), run),
        **_ways_of_agents("agent messages", server, lambda: _messages(server), run),
        "chat parse": Way(lambda text: _structured(server).invoke(text)),
        **_ways_of_cache(server, run),
        "embeddings": Way(lambda text: _embeddings(server).embed_documents([text])),
        "embeddings async": Way(lambda text: run(_embeddings(server).aembed_documents([text]))),
    }


def _ways_of(name: str, make: Callable[[], BaseChatModel], run: Run) -> dict[str, Way]:
    return {
        name: Way(lambda text: make().invoke(text)),
        f"{name} async": Way(lambda text: run(make().ainvoke(text))),
        f"{name} stream": Way(lambda text: _drain(make().stream(text))),
        f"{name} async stream": Way(lambda text: run(_drain_async(make().astream(text)))),
        f"{name} batch": Way(
            lambda text: _checked(make().batch(_several(text), return_exceptions=True)),
            requests=3,
            refusals=3,
        ),
        f"{name} async batch": Way(
            lambda text: _checked(run(make().abatch(_several(text), return_exceptions=True))),
            requests=3,
            refusals=3,
        ),
    }


def _several(text: str) -> list[str]:
    return [text, f"{text} and more", f"{text} and even more"]


def _checked(answers: list[Any]) -> None:
    """Raise the first of the errors among them."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def _ways_of_agents(
    name: str, server: ProviderServer, make: Callable[[], BaseChatModel], run: Run
) -> dict[str, Way]:
    def given(text: str) -> Any:
        return {"messages": [("user", text)]}

    def agent() -> Any:
        return create_agent(make(), tools=[look_up], name="writer")

    def with_tools(ask: Callable[[str], object]) -> Way:
        def way(text: str) -> None:
            with server.faulty(tool_rounds=1):
                ask(text)

        return Way(way, requests=2)

    return {
        name: with_tools(lambda text: agent().invoke(given(text))),
        f"{name} async": with_tools(lambda text: run(agent().ainvoke(given(text)))),
        f"{name} stream": with_tools(
            lambda text: _drain(agent().stream(given(text), stream_mode="messages"))
        ),
        f"{name} async stream": with_tools(
            lambda text: run(_drain_async(agent().astream(given(text), stream_mode="messages")))
        ),
    }


def _ways_of_cache(server: ProviderServer, run: Run) -> dict[str, Way]:
    note = "asked twice, the second answer comes from the cache: it is not a call"

    def twice(text: str) -> None:
        model = _chat(server, cache=InMemoryCache())
        model.invoke(text)
        model.invoke(text)

    async def twice_async(text: str) -> None:
        model = _chat(server, cache=InMemoryCache())
        await model.ainvoke(text)
        await model.ainvoke(text)

    return {
        "chat cached": Way(twice, note=note),
        "chat cached async": Way(lambda text: run(twice_async(text)), note=note),
    }


def _chat(server: ProviderServer, **settings: Any) -> ChatOpenAI:
    settings = {"stream_usage": True} | settings
    return ChatOpenAI(model="gpt-5-mini", base_url=server.openai_url, api_key="k", **settings)


def _messages(server: ProviderServer) -> ChatAnthropic:
    return ChatAnthropic(model_name="claude-sonnet-4-5", base_url=server.anthropic_url, api_key="k")


def _structured(server: ProviderServer) -> Any:
    return _chat(server).with_structured_output(SCHEMA, method="json_schema", strict=True)


def _embeddings(server: ProviderServer) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=server.openai_url,
        api_key="k",
        check_embedding_ctx_length=False,  # else it downloads a tokenizer
    )


def _drain(stream: Any) -> None:
    for _ in stream:
        pass


async def _drain_async(stream: Any) -> None:
    async for _ in stream:
        pass
