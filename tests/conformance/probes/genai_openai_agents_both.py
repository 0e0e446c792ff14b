"""OpenAI's agents SDK and client under OpenTelemetry's instrumentations."""

from __future__ import annotations

from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.conformance.probes._openai_agents import agents_ways as ways
from tests.conformance.probes._openai_agents import stay_at_home

__all__ = ["ENV", "PACKAGES", "TITLE", "instrument", "ways"]

ENV = "openai_agents"
TITLE = "opentelemetry-instrumentation-genai-openai-agents + -openai"
PACKAGES = (
    "opentelemetry-instrumentation-genai-openai-agents",
    "opentelemetry-instrumentation-genai-openai",
    "openai-agents",
    "openai",
)


def instrument(provider: TracerProvider) -> None:
    """The framework, and the client below it."""
    stay_at_home()
    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
