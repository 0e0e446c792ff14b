"""What `TokenSpanProcessor` adds to one call, against a bare SDK span."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

import otel_atm as atm
from benchmarks.interleaved import measure, medians

#: What each ratio should be at most; tests assert twice of it, since machines are noisy.
LIMITS = {"metrics and spool": 0.5, "span of no interest": 0.1}
AT_START = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5.1",
}
BUDGETS = [
    "1bn tokens / minute per user",
    "1bn tokens / day per team",
    "100bn tokens / month",
]


def llm_span(tracer: Tracer) -> Callable[[int], None]:
    """Three attributes at the start, three set later."""

    def run(calls: int) -> None:
        for _ in range(calls):
            span = tracer.start_span("chat gpt-5.1", attributes=AT_START)
            span.set_attribute("gen_ai.response.id", "r-1")
            span.set_attribute("gen_ai.usage.input_tokens", 900)
            span.set_attribute("gen_ai.usage.output_tokens", 210)
            span.end()

    return run


def other_span(tracer: Tracer) -> Callable[[int], None]:
    """The same, of no interest to us."""

    def run(calls: int) -> None:
        for _ in range(calls):
            span = tracer.start_span("GET", attributes={"a": "x", "b": "y", "c": "z"})
            span.set_attribute("d", "r-1")
            span.set_attribute("e", 900)
            span.set_attribute("f", 210)
            span.end()

    return run


def added_cost(folder: Path, rounds: int = 25, calls: int = 1_000) -> dict[str, float]:
    """(with - without) / bare span, for each set-up."""
    bare = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    tracers = {}
    for name, store, ledger in (
        ("no store", None, "memory"),
        ("spool", folder / "bench.duckdb", "memory"),
        ("shared", folder / "shared.duckdb", "auto"),
    ):
        provider = TracerProvider(shutdown_on_exit=False)
        processor = atm.TokenSpanProcessor(
            budgets=BUDGETS,
            ledger=ledger,
            store=store,
            meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False),
        )
        provider.add_span_processor(processor)
        tracers[name] = provider.get_tracer("bench")
    with atm.context(user="ann", team="ml", app="bench"):
        samples = measure(
            {
                "bare": llm_span(bare),
                "no store": llm_span(tracers["no store"]),
                "spool": llm_span(tracers["spool"]),
                "shared": llm_span(tracers["shared"]),
                "bare other": other_span(bare),
                "other": other_span(tracers["spool"]),
            },
            rounds=rounds,
            calls=calls,
        )
    middle = medians(samples)
    return {
        "no store": (middle["no store"] - middle["bare"]) / middle["bare"],
        "metrics and spool": (middle["spool"] - middle["bare"]) / middle["bare"],
        "and a ledger of all processes": (middle["shared"] - middle["bare"]) / middle["bare"],
        "span of no interest": (middle["other"] - middle["bare other"]) / middle["bare"],
        "bare span, µs": middle["bare"] * 1e6,
    }
