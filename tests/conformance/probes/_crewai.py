"""What one does with CrewAI, whoever makes spans of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way


@tool("weather")
def weather(town: str) -> str:
    """The weather of a town."""
    return f"It rains in {town}."


def crewai_ways(server: ProviderServer) -> Mapping[str, Way]:
    """A model alone, and a crew of one agent with one task."""

    def make(**more: Any) -> LLM:
        return LLM("openai/gpt-4o-mini", base_url=server.openai_url, api_key="k", **more)

    def crew(text: str, **more: Any) -> Crew:
        agent = Agent(
            role="reporter",
            goal="to tell the weather",
            backstory="has a window",
            llm=make(),
            max_retry_limit=0,
            **more,
        )
        task = Task(description=text, expected_output="a word", agent=agent)
        return Crew(agents=[agent], tasks=[task])

    def tools(text: str) -> None:
        with server.faulty(tool_rounds=1):
            crew(text, tools=[weather]).kickoff()

    return {
        "model": Way(lambda text: make().call(text)),
        "model stream": Way(lambda text: make(stream=True).call(text)),
        "crew": Way(lambda text: crew(text).kickoff()),
        "crew async": Way(lambda text: asyncio.run(crew(text).kickoff_async())),
        "crew with tools": Way(tools, requests=2),
    }
