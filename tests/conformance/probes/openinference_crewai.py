"""OpenInference's instrumentation of CrewAI."""

from __future__ import annotations

from collections.abc import Mapping

from openinference.instrumentation.crewai import CrewAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._crewai import crewai_ways

ENV = "crewai"
TITLE = "OpenInference crewai"
PACKAGES = ("openinference-instrumentation-crewai", "crewai", "openai")


def instrument(provider: TracerProvider) -> None:
    CrewAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return crewai_ways(server)
