"""Logfire's instrumentation of openai and anthropic: a stream's usage is on a second span."""

from __future__ import annotations

from collections.abc import Mapping

import logfire
from opentelemetry.sdk.trace import TracerProvider

from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._anthropic import anthropic_ways
from tests.conformance.probes._openai import openai_ways

ENV = "clients"
TITLE = "Logfire: openai and anthropic"
PACKAGES = ("logfire", "openai", "anthropic")


def instrument(provider: TracerProvider) -> None:
    logfire.configure(
        send_to_logfire=False,
        console=False,
        inspect_arguments=False,
        sampling=logfire.SamplingOptions(head=provider.sampler),
        # Its own provider, with the processors that ours has, now and later.
        additional_span_processors=[provider._active_span_processor],
    )
    logfire.instrument_openai()
    logfire.instrument_anthropic()


def ways(server: ProviderServer) -> Mapping[str, Way]:
    return {**openai_ways(server), **anthropic_ways(server)}
