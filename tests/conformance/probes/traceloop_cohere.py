"""Traceloop's instrumentation of Cohere's client."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.instrumentation.cohere import CohereInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._cohere import cohere_ways

ENV = "more_clients"
TITLE = "Traceloop cohere"
PACKAGES = ("opentelemetry-instrumentation-cohere", "cohere")


def instrument(provider: TracerProvider) -> None:
    CohereInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return cohere_ways(server)
