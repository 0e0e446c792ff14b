"""OpenInference's instrumentation of Groq's client."""

from __future__ import annotations

from collections.abc import Mapping

from openinference.instrumentation.groq import GroqInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._groq import groq_ways

ENV = "more_clients"
TITLE = "OpenInference groq"
PACKAGES = ("openinference-instrumentation-groq", "groq")


def instrument(provider: TracerProvider) -> None:
    GroqInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return groq_ways(server)
