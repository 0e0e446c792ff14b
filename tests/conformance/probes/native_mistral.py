"""The spans that Mistral's client makes itself, once it is told to."""

from __future__ import annotations

from collections.abc import Mapping

from mistralai.extra.observability.telemetry import configure_telemetry
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._mistral import mistral_ways

ENV = "more_clients"
TITLE = "mistralai, its own spans"
PACKAGES = ("mistralai",)


def instrument(provider: TracerProvider) -> None:
    """Nothing yet: each client is told that its spans go to the global provider."""


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return mistral_ways(server, lambda client: configure_telemetry(client, "global"))
