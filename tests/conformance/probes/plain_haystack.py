"""Haystack alone: nobody makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._haystack import haystack_ways

ENV = "smolagents_haystack"
TITLE = "Haystack, nobody makes spans of it"
PACKAGES = ("haystack-ai", "openai")


def instrument(provider: TracerProvider) -> None:
    """Nobody makes spans."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return haystack_ways(server)
