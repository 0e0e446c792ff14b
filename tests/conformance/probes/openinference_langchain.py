"""LangChain under OpenInference's instrumentation."""

from __future__ import annotations

from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.conformance.probes._langchain import langchain_ways as ways

__all__ = ["ENV", "PACKAGES", "TITLE", "instrument", "ways"]

ENV = "langchain"
TITLE = "OpenInference langchain"
PACKAGES = (
    "openinference-instrumentation-langchain",
    "langchain",
    "langchain-openai",
    "langchain-anthropic",
)


def instrument(provider: TracerProvider) -> None:
    """The framework alone."""
    LangChainInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
