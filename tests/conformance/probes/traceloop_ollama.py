"""Traceloop's instrumentation of Ollama's client."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.instrumentation.ollama import OllamaInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ollama import ollama_ways

ENV = "more_clients"
TITLE = "Traceloop ollama"
PACKAGES = ("opentelemetry-instrumentation-ollama", "ollama")


def instrument(provider: TracerProvider) -> None:
    OllamaInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return ollama_ways(server)
