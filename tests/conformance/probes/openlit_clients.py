"""OpenLIT's instrumentation of openai and anthropic: nothing is on its spans when they start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import openlit
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._anthropic import anthropic_ways
from tests.conformance.probes._openai import openai_ways

ENV = "openlit"
TITLE = "OpenLIT: openai and anthropic"
PACKAGES = ("openlit", "openai", "anthropic")


def instrument(provider: TracerProvider) -> None:
    prices = Path(__file__).with_name("_openlit_prices.json")  # else it fetches some
    openlit.init(
        tracer=provider.get_tracer("openlit"), pricing_json=str(prices), disable_metrics=True
    )


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return {**openai_ways(server), **anthropic_ways(server)}
