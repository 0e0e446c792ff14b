"""Mistral's client alone: nobody makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._mistral import mistral_ways

ENV = "more_clients"
TITLE = "mistralai, nobody makes spans of it"
PACKAGES = ("mistralai",)


def instrument(provider: TracerProvider) -> None:
    """Nobody makes spans."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return mistral_ways(server)
