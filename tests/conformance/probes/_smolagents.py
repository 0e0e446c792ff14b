"""What one does with smolagents, whoever makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smolagents import CodeAgent, LogLevel, OpenAIServerModel, ToolCallingAgent, tool

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way


@tool
def weather(town: str) -> str:
    """The weather of a town.

    Args:
        town: its name.
    """
    return f"It rains in {town}."


def smolagents_ways(server: ProviderServer) -> Mapping[str, Way]:
    """Models alone, and in agents that call them some times."""
    model = OpenAIServerModel("gpt-5.1", api_base=server.openai_url, api_key="k")

    def agent(kind: Any, **more: Any) -> Any:
        return kind(tools=[weather], model=model, verbosity_level=LogLevel.OFF, **more)

    def stream(text: str) -> None:
        for _ in model.generate_stream(_said(text)):
            pass

    def tools(text: str, **more: Any) -> None:
        with server.faulty(tool_rounds=2):
            agent(ToolCallingAgent, max_steps=2, **more).run(text)

    return {
        "model": Way(lambda text: model.generate(_said(text))),
        "model stream": Way(stream),
        "agent with tools": Way(tools, requests=3),
        "agent with tools stream": Way(lambda text: tools(text, stream_outputs=True), requests=3),
        # words that are no code are an error that it tells the model of, until it may not any more
        "code agent": Way(lambda text: agent(CodeAgent, max_steps=1).run(text), requests=2),
    }


def _said(text: str) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]
