"""Traceloop's instrumentation of Mistral's client."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.instrumentation.mistralai import MistralAiInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._mistral import mistral_ways

ENV = "more_clients"
TITLE = "Traceloop mistralai"
PACKAGES = ("opentelemetry-instrumentation-mistralai", "mistralai")


def instrument(provider: TracerProvider) -> None:
    MistralAiInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return mistral_ways(server)
