"""OpenAI's agents SDK and client under OpenInference's instrumentations."""

from __future__ import annotations

from openinference.instrumentation.openai import OpenAIInstrumentor
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from tests.conformance.probes._openai_agents import agents_ways as ways
from tests.conformance.probes._openai_agents import stay_at_home

__all__ = ["ENV", "PACKAGES", "TITLE", "instrument", "ways"]

ENV = "openai_agents"
TITLE = "OpenInference openai-agents + openai"
PACKAGES = (
    "openinference-instrumentation-openai-agents",
    "openinference-instrumentation-openai",
    "openai-agents",
    "openai",
)


def instrument(provider: TracerProvider) -> None:
    """The framework, and the client below it."""
    stay_at_home()
    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
