"""LlamaIndex alone: nobody makes spans of it."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._llama_index import llama_index_ways

ENV = "llama_index"
TITLE = "LlamaIndex, nobody makes spans of it"
PACKAGES = ("llama-index-core", "llama-index-llms-openai", "openai")


def instrument(provider: TracerProvider) -> None:
    """Nobody makes spans."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return llama_index_ways(server)
