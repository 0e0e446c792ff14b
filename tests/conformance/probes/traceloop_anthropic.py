"""Traceloop's instrumentation of anthropic, beside the client's own spans."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._anthropic import anthropic_ways

ENV = "clients"
TITLE = "Traceloop anthropic, and the client's own spans"
PACKAGES = ("opentelemetry-instrumentation-anthropic", "anthropic")


def instrument(provider: TracerProvider) -> None:
    AnthropicInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return anthropic_ways(server)
