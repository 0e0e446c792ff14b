"""Google's client, of a major version that no instrumentation knows yet."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._google_genai import google_ways

ENV = "google_genai_3"
TITLE = "google-genai"
PACKAGES = ("google-genai", "httpx2", "aiohttp")


def instrument(provider: TracerProvider) -> None:
    """Nothing: the plain client."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return google_ways(server, httpx2)
