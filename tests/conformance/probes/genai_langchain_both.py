"""LangChain and OpenAI's client under OpenTelemetry's instrumentations."""

from __future__ import annotations

from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.conformance.probes._langchain import langchain_ways as ways

__all__ = ["ENV", "PACKAGES", "TITLE", "instrument", "ways"]

ENV = "langchain"
TITLE = "opentelemetry-instrumentation-genai-langchain + -openai"
PACKAGES = (
    "opentelemetry-instrumentation-genai-langchain",
    "opentelemetry-instrumentation-genai-openai",
    "langchain",
    "langchain-openai",
    "langchain-anthropic",
)


def instrument(provider: TracerProvider) -> None:
    """The framework, and the client below it."""
    LangChainInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
