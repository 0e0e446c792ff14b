"""OpenInference's instrumentations of DSPy and of litellm below it."""

from __future__ import annotations

from collections.abc import Mapping

from openinference.instrumentation.dspy import DSPyInstrumentor
from openinference.instrumentation.litellm import LiteLLMInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._dspy import dspy_ways

ENV = "dspy"
TITLE = "OpenInference dspy and litellm"
PACKAGES = (
    "openinference-instrumentation-dspy",
    "openinference-instrumentation-litellm",
    "dspy",
    "litellm",
)


def instrument(provider: TracerProvider) -> None:
    DSPyInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    LiteLLMInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return dspy_ways(server)
