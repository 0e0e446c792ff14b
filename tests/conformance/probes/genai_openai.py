"""OpenTelemetry's GenAI instrumentation of openai."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._openai import openai_ways

ENV = "clients"
TITLE = "OpenTelemetry genai-openai"
PACKAGES = ("opentelemetry-instrumentation-genai-openai", "openai")


def instrument(provider: TracerProvider) -> None:
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return openai_ways(server)
