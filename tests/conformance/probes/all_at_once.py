"""Three instrumentations of each client at once, and the spans of the anthropic client."""

from __future__ import annotations

from collections.abc import Mapping

from openinference.instrumentation.anthropic import AnthropicInstrumentor as OpenInferenceAnthropic
from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInferenceOpenAI
from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor as TraceloopAnthropic
from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor as GenAIAnthropic
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as GenAIOpenAI
from opentelemetry.instrumentation.openai import OpenAIInstrumentor as TraceloopOpenAI
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._anthropic import anthropic_ways
from tests.conformance.probes._openai import openai_ways

ENV = "clients"
TITLE = "genai, Traceloop and OpenInference at once, and the client's own spans"
PACKAGES = (
    "opentelemetry-instrumentation-genai-openai",
    "opentelemetry-instrumentation-openai",
    "openinference-instrumentation-openai",
    "opentelemetry-instrumentation-genai-anthropic",
    "opentelemetry-instrumentation-anthropic",
    "openinference-instrumentation-anthropic",
    "openai",
    "anthropic",
)


def instrument(provider: TracerProvider) -> None:
    for kind in (
        TraceloopOpenAI,
        TraceloopAnthropic,
        OpenInferenceOpenAI,
        OpenInferenceAnthropic,
        GenAIOpenAI,
        GenAIAnthropic,
    ):
        kind().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return {**openai_ways(server), **anthropic_ways(server)}
