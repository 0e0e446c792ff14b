"""OpenTelemetry's former instrumentation of openai: no spans for responses and parse."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._openai import openai_ways

ENV = "openai_v2"
TITLE = "OpenTelemetry openai-v2"
PACKAGES = ("opentelemetry-instrumentation-openai-v2", "opentelemetry-util-genai", "openai")


def instrument(provider: TracerProvider) -> None:
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return openai_ways(server)
