"""Groq's client alone: nobody makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._groq import groq_ways

ENV = "more_clients"
TITLE = "groq, nobody makes spans of it"
PACKAGES = ("groq",)


def instrument(provider: TracerProvider) -> None:
    """Nobody makes spans."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return groq_ways(server)
