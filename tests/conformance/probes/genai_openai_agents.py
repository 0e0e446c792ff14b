"""OpenAI's agents SDK under OpenTelemetry's instrumentation, which makes no spans of calls."""

from __future__ import annotations

from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.conformance.probes._openai_agents import agents_ways as ways
from tests.conformance.probes._openai_agents import stay_at_home

__all__ = ["ENV", "PACKAGES", "TITLE", "instrument", "ways"]

ENV = "openai_agents"
TITLE = "opentelemetry-instrumentation-genai-openai-agents"
PACKAGES = (
    "opentelemetry-instrumentation-genai-openai-agents",
    "openai-agents",
    "openai",
)


def instrument(provider: TracerProvider) -> None:
    """The framework alone."""
    stay_at_home()
    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
