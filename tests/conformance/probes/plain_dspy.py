"""DSPy alone: nobody makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._dspy import dspy_ways

ENV = "dspy"
TITLE = "DSPy, nobody makes spans of it"
PACKAGES = ("dspy", "litellm")


def instrument(provider: TracerProvider) -> None:
    """Nobody makes spans."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return dspy_ways(server)
