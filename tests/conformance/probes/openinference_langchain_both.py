"""LangChain and OpenAI's client under OpenInference's instrumentations."""

from __future__ import annotations

from openinference.instrumentation.langchain import LangChainInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.conformance.probes._langchain import langchain_ways as ways

__all__ = ["ENV", "PACKAGES", "TITLE", "instrument", "ways"]

ENV = "langchain"
TITLE = "OpenInference langchain + openai"
PACKAGES = (
    "openinference-instrumentation-langchain",
    "openinference-instrumentation-openai",
    "langchain",
    "langchain-openai",
    "langchain-anthropic",
)


def instrument(provider: TracerProvider) -> None:
    """The framework, and the client below it."""
    LangChainInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
