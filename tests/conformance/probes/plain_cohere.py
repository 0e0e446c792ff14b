"""Cohere's client alone: nobody makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._cohere import cohere_ways

ENV = "more_clients"
TITLE = "cohere, nobody makes spans of it"
PACKAGES = ("cohere",)


def instrument(provider: TracerProvider) -> None:
    """Nobody makes spans."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return cohere_ways(server)
