"""Traceloop's instrumentation of LlamaIndex."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.instrumentation.llamaindex import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._llama_index import llama_index_ways

ENV = "llama_index"
TITLE = "Traceloop llamaindex"
PACKAGES = (
    "opentelemetry-instrumentation-llamaindex",
    "llama-index-core",
    "llama-index-llms-openai",
    "openai",
)


def instrument(provider: TracerProvider) -> None:
    LlamaIndexInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return llama_index_ways(server)
