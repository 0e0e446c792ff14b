"""Google's client, of the last major version that OpenTelemetry's instrumentation knows."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._google_genai import google_ways

ENV = "google_genai_2"
TITLE = "opentelemetry-instrumentation-google-genai"
PACKAGES = ("opentelemetry-instrumentation-google-genai", "google-genai")


def instrument(provider: TracerProvider) -> None:
    """Spans of `generate_content` and `embed_content`."""
    GoogleGenAiSdkInstrumentor().instrument(tracer_provider=provider)


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return google_ways(server, httpx)
