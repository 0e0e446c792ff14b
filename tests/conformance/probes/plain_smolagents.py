"""smolagents alone: nobody makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._smolagents import smolagents_ways

ENV = "smolagents_haystack"
TITLE = "smolagents, nobody makes spans of it"
PACKAGES = ("smolagents", "openai")


def instrument(provider: TracerProvider) -> None:
    """Nobody makes spans."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return smolagents_ways(server)
