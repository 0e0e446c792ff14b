"""The openai client with nobody who makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._openai import openai_ways

ENV = "clients"
TITLE = "openai"
PACKAGES = ("openai",)


def instrument(provider: TracerProvider) -> None:
    """Nothing: the plain client."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return openai_ways(server)
