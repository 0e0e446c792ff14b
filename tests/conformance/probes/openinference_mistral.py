"""OpenInference's instrumentation of Mistral's client."""

from __future__ import annotations

from collections.abc import Mapping

from openinference.instrumentation.mistralai import MistralAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._mistral import mistral_ways

ENV = "more_clients"
TITLE = "OpenInference mistralai"
PACKAGES = ("openinference-instrumentation-mistralai", "mistralai")


def instrument(provider: TracerProvider) -> None:
    MistralAIInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return mistral_ways(server)
