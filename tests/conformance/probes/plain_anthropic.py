"""The anthropic client, which makes spans of its own."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._anthropic import anthropic_ways

ENV = "clients"
TITLE = "anthropic, its own spans"
PACKAGES = ("anthropic",)


def instrument(provider: TracerProvider) -> None:
    """Nothing: the client takes the global tracer provider."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return anthropic_ways(server)
