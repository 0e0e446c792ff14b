"""OpenInference's instrumentation of openai, which swallows what a processor raises."""

from __future__ import annotations

from collections.abc import Mapping

from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._openai import openai_ways

ENV = "clients"
TITLE = "OpenInference openai"
PACKAGES = ("openinference-instrumentation-openai", "openai")


def instrument(provider: TracerProvider) -> None:
    OpenAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return openai_ways(server)
