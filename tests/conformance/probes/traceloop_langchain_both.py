"""LangChain and OpenAI's client under Traceloop's instrumentations."""

from __future__ import annotations

from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from opentelemetry.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.conformance.probes._langchain import langchain_ways as ways

__all__ = ["ENV", "PACKAGES", "TITLE", "instrument", "ways"]

ENV = "langchain"
TITLE = "Traceloop langchain + openai"
PACKAGES = (
    "opentelemetry-instrumentation-langchain",
    "opentelemetry-instrumentation-openai",
    "langchain",
    "langchain-openai",
    "langchain-anthropic",
)


def instrument(provider: TracerProvider) -> None:
    """The framework, and the client below it."""
    LangchainInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
