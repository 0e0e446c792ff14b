"""OpenInference's instrumentation of smolagents."""

from __future__ import annotations

from collections.abc import Mapping

from openinference.instrumentation.smolagents import SmolagentsInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._smolagents import smolagents_ways

ENV = "smolagents_haystack"
TITLE = "OpenInference smolagents"
PACKAGES = ("openinference-instrumentation-smolagents", "smolagents", "openai")


def instrument(provider: TracerProvider) -> None:
    SmolagentsInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return smolagents_ways(server)
