"""OpenInference's instrumentation of Haystack."""

from __future__ import annotations

from collections.abc import Mapping

from openinference.instrumentation.haystack import HaystackInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._haystack import haystack_ways

ENV = "smolagents_haystack"
TITLE = "OpenInference haystack"
PACKAGES = ("openinference-instrumentation-haystack", "haystack-ai", "openai")


def instrument(provider: TracerProvider) -> None:
    HaystackInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return haystack_ways(server)
