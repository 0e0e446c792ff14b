"""LangChain under Traceloop's instrumentation."""

from __future__ import annotations

from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.conformance.probes._langchain import langchain_ways as ways

__all__ = ["ENV", "PACKAGES", "TITLE", "instrument", "ways"]

ENV = "langchain"
TITLE = "Traceloop langchain"
PACKAGES = (
    "opentelemetry-instrumentation-langchain",
    "langchain",
    "langchain-openai",
    "langchain-anthropic",
)


def instrument(provider: TracerProvider) -> None:
    """The framework alone."""
    LangchainInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
